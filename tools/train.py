"""Train by config, on any host: the config's default_scope says which."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from mmsls import runs
from mmsls.report.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument(
        '--work-dir', help="where logs and checkpoints go (default: the config's, or work_dirs/<its name>)"
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from a checkpoint, or from the latest one in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value settings that override the config'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    if args.amp:
        cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale = 'AmpOptimWrapper', 'dynamic'
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'auto' else args.resume
    runs.train(cfg)


if __name__ == '__main__':
    with one_line_errors():
        main()
