"""What the command-line tools share: arguments, and errors as their users want them."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from mmsls.files.paths import expand_home
from mmsls.files.trouble import explain
from mmsls.scoring.rule import Rule

SAME_COMMAND = 'the same command goes on where it stopped'
UNITS = {'k': 10**3, 'm': 10**6, 'g': 10**9}
PACKAGE = Path(__file__).resolve().parent


def config_parser(description: str | None, config_help: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with what every tool takes: a config and settings that override it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', type=path_argument, help=config_help)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value settings that override the config'
    )
    return parser


def run_parser(description: str | None, config_help: str | None = None) -> argparse.ArgumentParser:
    """Return a parser for tools that run a config: where results go and how processes are launched, too."""
    parser = config_parser(description, config_help)
    parser.add_argument(
        '--work-dir', type=path_argument, help="where results go (default: the config's, or work_dirs/<its name>)"
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    return parser


def fitting_parser(
    description: str | None, config: str, checkpoint: str, name: str, images: int
) -> argparse.ArgumentParser:
    """Return a parser for tools that fit a part of a model in closed form and write its checkpoint.

    Args:
        description: What the tool does.
        config: What its config is.
        checkpoint: What its checkpoint is.
        name: File that it writes in the work directory, unless told otherwise.
        images: Most training images that are looked at, unless told otherwise.
    """
    parser = run_parser(description, config)
    parser.add_argument('checkpoint', type=path_argument, help=checkpoint)
    parser.add_argument('--index', type=path_argument, help='pruning index (default: what the config names)')
    parser.add_argument(
        '--out', type=path_argument, help=f'checkpoint to write (default: {name} in the work directory)'
    )
    parser.add_argument('--images', type=int, default=images, help='most training images that are looked at')
    return parser


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the modules that a task folder may name."""
    told = 'modules of your own that the task may import and build from'
    parser.add_argument('--trust', nargs='+', default=(), metavar='MODULE', help=told)


def add_rule_options(parser: argparse.ArgumentParser) -> None:
    """Add the settings of the rule; what is not given stays as the config's hook has it."""
    parser.add_argument('--alpha', type=float, help='threshold factor, in (0, 1]')
    parser.add_argument(
        '--max-drop',
        type=float,
        help='instead of --alpha: points that may be lost against the best block, for criteria in points (probe)',
    )
    parser.add_argument(
        '--keep',
        type=float,
        help='share of the blocks that stay, in (0, 1], for criteria that rate single blocks (Taylor)',
    )
    parser.add_argument('--scope', choices=('model', 'stage'), help="the paper's walk over all blocks, or each stage")
    parser.add_argument('--min-depth', type=int, help='fewest blocks kept in every stage')
    parser.add_argument('--reference', choices=('top', 'peak'), help='threshold relative to the top or the best block')


def add_also(parser: argparse.ArgumentParser) -> None:
    """Add the other criteria whose curves are left beside."""
    told = 'other criteria whose curves are shown beside (default: probe and ncm; none where no NAME follows)'
    parser.add_argument('--also', nargs='*', metavar='NAME', help=told)


def chosen(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the named arguments as a dict, those of the rule where none are named."""
    return {name: getattr(args, name) for name in names or Rule.options()}


def path_argument(text: str) -> str:
    """Return a path of the command line; the shell leaves `~` in `--name=~/x` and in quotes as it is."""
    return expand_home(text)


def depths_argument(text: str) -> tuple[int, ...]:
    """Return blocks per stage of the command line.

    Raises:
        argparse.ArgumentTypeError: If they are no whole numbers.

    Example:
        >>> depths_argument('2,2,4,1'), depths_argument('7')
        ((2, 2, 4, 1), (7,))
    """
    try:
        return tuple(int(part) for part in re.split('[,-]', text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is no list of whole numbers such as 2,2,4,1') from error


def amount_argument(text: str) -> float:
    """Return a number of the command line that may end in k, M or G.

    Raises:
        argparse.ArgumentTypeError: If it is no number.

    Example:
        >>> amount_argument('4M'), amount_argument('27.5e6'), amount_argument('900k')
        (4000000.0, 27500000.0, 900000.0)
    """
    unit = UNITS.get(text[-1:].lower(), 1)
    try:
        return float(text[:-1] if unit > 1 else text) * unit
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is no number such as 4000000 or 4M') from error


@contextmanager
def one_line_errors(go_on: str = '') -> Iterator[None]:
    """End the program with one line where mmsls refused an input, the system refused a file, or it was interrupted.

    Any other error keeps its traceback.

    Args:
        go_on: How to go on after an interruption.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f'interrupted{go_on and "; " + go_on}', file=sys.stderr)
        sys.exit(130)
    except (ValueError, FileNotFoundError, IndexError, RuntimeError, OSError) as error:
        line = explain(error) if isinstance(error, OSError) else None
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
        if line is not None:
            sys.exit(f'error: {line}{go_on and "; then " + go_on}')
        if PACKAGE not in raised_in.parents:
            raise
        sys.exit(f'error: {error}')
