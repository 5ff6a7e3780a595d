"""Write the frozen base of a config in the host's key style, for full fine-tuning through the host's own init_cfg."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.cli import config_parser, one_line_errors, path_argument


def parser() -> argparse.ArgumentParser:
    options = config_parser(__doc__)
    options.add_argument('out', type=path_argument, help='file to write')
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    runs.export_base(runs.load_config(args.config, options=args.cfg_options), args.out)
