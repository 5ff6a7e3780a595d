"""Pack a slim checkpoint into a task folder (safetensors, index, mmsls.json, model card) to copy, zip or publish."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.cli import add_trust, config_parser, one_line_errors, path_argument
from mmsls.cost.complexity import summary_line
from mmsls.deploy import task_folder


def parser() -> argparse.ArgumentParser:
    options = config_parser(__doc__, 'config that the checkpoint was trained with')
    options.add_argument('checkpoint', type=path_argument, help='a checkpoint that SlimCheckpointHook slimmed')
    options.add_argument('folder', type=path_argument, help='the task folder, new')
    options.add_argument('--index', type=path_argument, help="index file (default: the config's pruning_index)")
    options.add_argument('--name', default='', help="the task's name (default: the folder's)")
    add_trust(options)
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfg = runs.load_config(args.config, options=args.cfg_options)
    task = task_folder.pack(cfg, args.checkpoint, args.folder, args.index, args.name, args.trust)
    print(f'{task.folder}: {summary_line(task.parameters)}')
