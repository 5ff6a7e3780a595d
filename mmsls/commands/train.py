"""Train by config, on any host: the config's default_scope says which."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmsls import runs
from mmsls.cli import one_line_errors, path_argument, run_parser


def parser() -> argparse.ArgumentParser:
    options = run_parser(__doc__)
    options.add_argument(
        '--resume',
        type=path_argument,
        nargs='?',
        const='auto',
        help='go on from a checkpoint, or from the latest one in the work directory',
    )
    options.add_argument('--amp', action='store_true', help='automatic mixed precision')
    return options


@one_line_errors('--resume goes on from the last checkpoint')
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfg = runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    if args.amp:
        cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale = 'AmpOptimWrapper', 'dynamic'
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'auto' else args.resume
    runs.train(cfg)
