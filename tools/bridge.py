"""Cut a tuned model and fit affine maps in the place of what was removed: no labels, no training."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsls import runs
from mmsls.cli import one_line_errors, path_argument, run_parser
from mmsls.report.progress import ChainProgress, terminal


def parse_args() -> argparse.Namespace:
    parser = run_parser(__doc__, 'config that the checkpoint was tuned with, or that of its retraining')
    parser.add_argument('checkpoint', type=path_argument, help='the model tuned at full depth')
    parser.add_argument('--index', type=path_argument, help='pruning index (default: what the config names)')
    parser.add_argument(
        '--out', type=path_argument, help='checkpoint to write (default: bridged.pth in the work directory)'
    )
    parser.add_argument('--images', type=int, default=1000, help='most training images that are looked at')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    if args.index is not None:
        for name in ('kept_depths', 'kept_blocks'):
            cfg.model.backbone.pop(name, None)
        cfg.model.backbone.pruning_index = args.index
    out = Path(args.out or Path(cfg.work_dir) / 'bridged.pth')
    runs.start_processes(cfg)
    console = terminal()
    with ChainProgress(console) as progress:
        stage = progress.stage('bridge', False)
        fitted = runs.bridge(cfg, args.checkpoint, out, args.images, stage.on_batch)
    for bridge in fitted:
        console.print(bridge, highlight=False, soft_wrap=True)
    console.print(
        f'wrote {out}; test it with model.backbone.bridge=True and the same index, or retrain from it (load_from)',
        highlight=False,
        soft_wrap=True,
    )


if __name__ == '__main__':
    with one_line_errors():
        main()
