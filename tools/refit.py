"""Fit the last layer of a head anew in closed form, from labelled training images: no training."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsls import runs
from mmsls.cli import one_line_errors, path_argument, run_parser
from mmsls.report.progress import ChainProgress, terminal


def parse_args() -> argparse.Namespace:
    parser = run_parser(__doc__, 'config of the model, such as that of the retraining')
    parser.add_argument('checkpoint', type=path_argument, help='its weights, or those of the model tuned at full depth')
    parser.add_argument('--index', type=path_argument, help='pruning index (default: what the config names)')
    parser.add_argument(
        '--out', type=path_argument, help='checkpoint to write (default: refitted.pth in the work directory)'
    )
    parser.add_argument('--images', type=int, default=5000, help='most training images that are looked at')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    if args.index is not None:
        cfg.model.backbone.pop('kept_depths', None)
        cfg.model.backbone.pruning_index = args.index
    out = Path(args.out or Path(cfg.work_dir) / 'refitted.pth')
    runs.start_processes(cfg)
    console = terminal()
    with ChainProgress(console) as progress:
        stage = progress.stage('refit', False)
        fitted = runs.refit(cfg, args.checkpoint, out, args.images, stage.on_batch)
    console.print(fitted, highlight=False, soft_wrap=True)
    console.print(
        f'wrote {out}; test it with the same config and index, or retrain from it (load_from)',
        highlight=False,
        soft_wrap=True,
    )


if __name__ == '__main__':
    with one_line_errors():
        main()
