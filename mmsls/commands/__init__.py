"""The command `mmsls`: one sub-command per file here; the scripts in `tools/` are the same from a checkout.

Nothing but the standard library is imported before a sub-command is known, so that `mmsls --help` answers at once.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mmsls import __version__

FOLDER = Path(__file__).resolve().parent
COMMANDS = (
    *('demo', 'doctor', 'run', 'train', 'score', 'decide', 'report', 'bridge', 'refit', 'test', 'benchmark', 'merge'),
    *('pack', 'unpack', 'predict', 'export-base', 'vtab'),
)
"""In the order in which a user meets them."""


def module_of(command: str) -> str:
    """Return the name of a sub-command's module.

    Example:
        >>> module_of('export-base')
        'export_base'
    """
    return command.replace('-', '_')


def first_line(command: str) -> str:
    """Return what a sub-command does, read from its source without running it."""
    source = (FOLDER / f'{module_of(command)}.py').read_text(encoding='utf-8')
    return (ast.get_docstring(ast.parse(source)) or '').partition('\n')[0]


def parser() -> argparse.ArgumentParser:
    """Return the parser of `mmsls` itself; a sub-command has its own."""
    lines = [f'  {command:<12} {first_line(command)}' for command in COMMANDS]
    told = 'A CONFIG is a file, or one that comes with mmsls (or a toolbox), by name: mmsls::demo/tune.py'
    options = argparse.ArgumentParser(
        prog='mmsls',
        usage='mmsls COMMAND ...    (mmsls COMMAND --help says more)',
        epilog='\n'.join(['commands:', *lines, '', told]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument('command', choices=COMMANDS, metavar='COMMAND', help='one of those below')
    options.add_argument('--version', action='version', version=f'mmsls {__version__}')
    return options


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run one sub-command.

    Args:
        argv: What follows `mmsls` on the command line; None takes that of the process.

    Returns:
        Its exit code, where it has one.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    command = parser().parse_args(given[:1]).command
    # argparse takes the name that a sub-command's usage line starts with from here.
    sys.argv = [f'mmsls {command}', *given[1:]]
    return import_module(f'{__name__}.{module_of(command)}').main(given[1:])
