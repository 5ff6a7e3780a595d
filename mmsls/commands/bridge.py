"""Cut a tuned model and fit affine maps in the place of what was removed: no labels, no training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmsls import runs
from mmsls.chain.state import BRIDGED
from mmsls.cli import fitting_parser, one_line_errors
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.runs.configs import cut_by


def parser() -> argparse.ArgumentParser:
    config = 'config that the checkpoint was tuned with, or that of its retraining'
    return fitting_parser(__doc__, config, 'the model tuned at full depth', BRIDGED, 1000)


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfg = cut_by(runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher), args.index)
    out = Path(args.out or Path(cfg.work_dir) / BRIDGED)
    runs.start_processes(cfg)
    console = terminal()
    with ChainProgress(console) as progress:
        stage = progress.stage('bridge', False)
        fitted = runs.bridge(cfg, args.checkpoint, out, args.images, stage.on_batch)
    setting = cfg.model.backbone.get('bridge') or True
    for bridge in fitted:
        console.print(bridge, highlight=False, soft_wrap=True)
    console.print(
        f'wrote {out}; test it with the same index and model.backbone.bridge={setting}, or retrain from it (load_from)',
        highlight=False,
        soft_wrap=True,
    )
