"""What `mmsls bridge` and `mmsls refit` share: something fitted in closed form, told on the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mmengine.config import Config
from rich.console import Console

from mmsls import runs
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.runs.configs import cut_by

Fitted = TypeVar('Fitted')


def fitted(
    args: argparse.Namespace, title: str, name: str, fit: Callable[..., Fitted]
) -> tuple[Console, Config, Path, Fitted]:
    """Fit by a config that is cut by the index of some arguments (see `fitting_parser`).

    Args:
        args: The arguments.
        title: What the progress line says.
        name: File name where they name none; it goes to the work directory.
        fit: `runs.bridge` or `runs.refit`.

    Returns:
        Where to tell of it, the config, the file, and what was fitted.
    """
    cfg = cut_by(runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher), args.index)
    out = Path(args.out or Path(cfg.work_dir) / name)
    runs.start_processes(cfg)
    console = terminal()
    with ChainProgress(console) as progress:
        found = fit(cfg, args.checkpoint, out, args.images, progress.stage(title, False).on_batch)
    return console, cfg, out, found
