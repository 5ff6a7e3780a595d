"""Write a slim checkpoint as an ordinary full one, with a config that runs without mmsls where the adapter merges."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.cli import config_parser, one_line_errors, path_argument
from mmsls.deploy import merging


def parser() -> argparse.ArgumentParser:
    options = config_parser(__doc__, 'config that the checkpoint was trained with')
    options.add_argument('checkpoint', type=path_argument, help='a checkpoint that SlimCheckpointHook slimmed')
    options.add_argument('out', type=path_argument, help='new folder for config.py and model.pth')
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    done = merging.export(runs.load_config(args.config, options=args.cfg_options), args.checkpoint, args.out)
    print(f'{done.config}\n{done.checkpoint}')
    print('needs no mmsls' if done.stock else f'needs mmsls (custom_imports): {done.reason}')
