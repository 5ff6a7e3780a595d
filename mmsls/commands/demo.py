"""Run the whole chain on generated digit scenes: draw them, pre-train a nano Swin, then `mmsls run`; no download.

Options of `mmsls run` may follow. Everything is written below ./work_dirs; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

# Models this small gain nothing from a second thread, and on one the figures do not depend on the machine's cores.
# Waiting threads sleep instead of spinning, which another busy process would make many times slower.
THREADS = {'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('--seg', action='store_true', help='the same scenes by pixel, in MMSegmentation')
    return options


def main(argv: Sequence[str] | None = None) -> None:
    args, rest = parser().parse_known_args(argv)
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    # Not before: torch reads them when it is imported.
    from mmsls.cli import SAME_COMMAND, one_line_errors
    from mmsls.commands import run
    from mmsls.demo.embedded import make_embedded
    from mmsls.environment.hosts import need

    name, host = ('demo_seg', 'mmseg') if args.seg else ('demo', 'mmdet')
    with one_line_errors(SAME_COMMAND):
        need(host, f'mmsls demo{" --seg" if args.seg else ""}')
        make_embedded()
    configs = [f'mmsls::{name}/{stage}.py' for stage in ('tune', 'pruned', 'baseline')]
    run.main([configs[0], '--pruned', configs[1], '--baseline', configs[2], '--work-dir', f'work_dirs/{name}', *rest])
