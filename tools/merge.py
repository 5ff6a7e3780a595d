"""Write a slim checkpoint as an ordinary full one, with a config that runs without mmsls where the adapter merges."""

from __future__ import annotations

import argparse

from mmsls import runs
from mmsls.cli import config_parser, one_line_errors, path_argument
from mmsls.deploy import merging


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, 'config that the checkpoint was trained with')
    parser.add_argument('checkpoint', type=path_argument, help='a checkpoint that SlimCheckpointHook slimmed')
    parser.add_argument('out', type=path_argument, help='new folder for config.py and model.pth')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    done = merging.export(runs.load_config(args.config, options=args.cfg_options), args.checkpoint, args.out)
    print(f'{done.config}\n{done.checkpoint}')
    print('needs no mmsls' if done.stock else f'needs mmsls (custom_imports): {done.reason}')


if __name__ == '__main__':
    with one_line_errors():
        main()
