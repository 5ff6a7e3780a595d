"""What tiny runs spend most of their time on, spared: the layout of config texts, searches through memory, many depths.

Nothing that is computed, stored or read changes but how many depths a scoring run measures beside its index. What runs
in a fresh interpreter goes without.
"""

from __future__ import annotations

import ast
import gc

from mmengine.config import config as configs_of_mmengine
from yapf.yapflib import yapf_api

from mmsls.runs import leaving_costs


def as_it_is(source: str, *_: object, **__: object) -> tuple[str, bool]:
    """Check that a text is Python, and leave its layout alone; in the place of yapf's `FormatCode`.

    MMEngine lays a run's config out about ten times, in more time than a tiny training takes.

    Raises:
        SyntaxError: If it is none, which MMEngine says in its own words, as it does where yapf fails.
    """
    ast.parse(source)
    return source, False


def spare() -> None:
    """Spare the layout, all searches for garbage what is in memory now (thousands of modules), a model per depth."""
    for module in (yapf_api, configs_of_mmengine):  # MMEngine imports it anew each time, or once
        module.FormatCode = as_it_is
    leaving_costs.MOST, leaving_costs.ROUNDS = 2, 1
    gc.freeze()  # every data set of MMEngine searches when it is built, a quarter of a second without this
