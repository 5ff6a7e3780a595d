"""Fit the last layer of a head anew in closed form, from labelled training images: no training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmsls import runs
from mmsls.chain.state import REFITTED
from mmsls.cli import fitting_parser, one_line_errors
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.runs.configs import cut_by


def parser() -> argparse.ArgumentParser:
    config, checkpoint = 'config of the model, such as that of the retraining', 'its weights, or those at full depth'
    return fitting_parser(__doc__, config, checkpoint, REFITTED, 5000)


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfg = cut_by(runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher), args.index)
    out = Path(args.out or Path(cfg.work_dir) / REFITTED)
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
