"""The command-line tools as the pages show them, and their parsers.

Pages say `python tools/NAME.py`, which works wherever a reader of the repository is; the site says `mmsls COMMAND`, the
same from a wheel.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
FORM = 'mmsls {name}'
NAMES = {'run_sls': 'run', 'run_vtab': 'vtab', 'export_base': 'export-base'}
"""Tools that go by another name in `FORM`."""
_CALL = re.compile(r'\bpython tools/(?P<name>\w+)\.py\b')


def as_shown(text: str) -> str:
    """Return a text with every call of a tool in the form that the site shows.

    Example:
        >>> as_shown('`python tools/train.py CONFIG`')
        '`mmsls train CONFIG`'
    """
    return _CALL.sub(lambda call: FORM.format(name=NAMES.get(call['name'], call['name'])), text)


class _Caught(Exception):
    """Carries a parser out of a script."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(script: Path) -> argparse.ArgumentParser:
    """Return the argument parser that a script makes, without running the script any further.

    Args:
        script: A script that parses its arguments first of all in `main()`.

    Raises:
        ValueError: If it parses none.
    """

    def caught(self: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _Caught(self)

    spec = importlib.util.spec_from_file_location(f'_parser_of_{script.stem}', script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    kept, path = argparse.ArgumentParser.parse_args, list(sys.path)
    sys.path.insert(0, str(script.parent))  # benchmarks import their neighbours
    argparse.ArgumentParser.parse_args = caught  # type: ignore[method-assign]
    try:
        spec.loader.exec_module(module)
        module.main()
    except _Caught as found:
        return found.parser
    finally:
        del sys.modules[spec.name]
        argparse.ArgumentParser.parse_args = kept  # type: ignore[method-assign]
        sys.path[:] = path
    raise ValueError(f'script: {script} parses no arguments')
