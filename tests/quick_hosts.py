"""What the hosts spend most of a tiny run on, spared: the layout of config texts, and searches through all of memory.

Nothing that is computed, stored or read changes. What runs in a fresh interpreter goes without.
"""

from __future__ import annotations

import ast
import gc

from yapf.yapflib import yapf_api


def as_it_is(source: str, *_: object, **__: object) -> tuple[str, bool]:
    """Check that a text is Python, and leave its layout alone; in the place of yapf's `FormatCode`.

    MMEngine lays a run's config out about ten times, in more time than a tiny training takes.

    Raises:
        SyntaxError: If it is none, which MMEngine says in its own words, as it does where yapf fails.
    """
    ast.parse(source)
    return source, False


def spare() -> None:
    """Spare the layout, and all searches for garbage what is in memory now: thousands of modules."""
    yapf_api.FormatCode = as_it_is
    gc.freeze()  # every data set of MMEngine searches when it is built, a quarter of a second without this
