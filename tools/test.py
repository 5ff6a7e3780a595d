"""Test a checkpoint by config, on any host: the config's default_scope says which."""

from __future__ import annotations

import argparse

from mmsls import runs
from mmsls.cli import one_line_errors, path_argument, run_parser


def parse_args() -> argparse.Namespace:
    parser = run_parser(__doc__)
    parser.add_argument('checkpoint', type=path_argument)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    runs.test(runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher), args.checkpoint)


if __name__ == '__main__':
    with one_line_errors():
        main()
