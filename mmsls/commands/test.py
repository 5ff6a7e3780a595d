"""Test a checkpoint by config, on any host: the config's default_scope says which."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.cli import one_line_errors, path_argument, run_parser


def parser() -> argparse.ArgumentParser:
    options = run_parser(__doc__)
    options.add_argument('checkpoint', type=path_argument)
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    runs.test(runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher), args.checkpoint)
