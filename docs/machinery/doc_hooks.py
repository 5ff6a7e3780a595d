"""What MkDocs calls while it builds the site: tables are filled in, commands take their present form."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = str(Path(__file__).resolve().parent)
MARK = re.compile(r'<!-- table: (?P<name>[a-z_]+) -->')


def neighbour(name: str) -> ModuleType:
    """Import a file of this folder; MkDocs loads this one by its path, and forgets `sys.path` after it."""
    if HERE not in sys.path:
        sys.path.append(HERE)
    return import_module(name)


@cache
def table(name: str) -> str:
    """Return a generated table; the package is imported only where a page asks for one."""
    return neighbour('doc_tables').TABLES[name]()


def on_page_markdown(markdown: str, **kwargs: Any) -> str:  # noqa: ARG001
    """Fill in tables, and write commands as they are called now."""
    return neighbour('doc_commands').as_shown(MARK.sub(lambda mark: table(mark['name']), markdown))
