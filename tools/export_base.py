"""Write the frozen base of a config in the host's key style, for full fine-tuning through the host's own init_cfg."""

from __future__ import annotations

import argparse

from mmsls import runs
from mmsls.cli import config_parser, one_line_errors, path_argument


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.add_argument('out', type=path_argument, help='file to write')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    runs.export_base(runs.load_config(args.config, options=args.cfg_options), args.out)


if __name__ == '__main__':
    with one_line_errors():
        main()
