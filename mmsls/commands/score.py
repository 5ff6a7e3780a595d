"""Score every block of a tuned model or of the untuned base, outside a training run, and write the pruning index."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmsls import runs
from mmsls.cli import add_also, add_rule_options, chosen, one_line_errors, path_argument, run_parser
from mmsls.features.splits import SPLITS
from mmsls.parallel.main_process import on_main_process
from mmsls.pruning_index.keeping import INDEX_FILE
from mmsls.report.console_log import terminal
from mmsls.report.leaving import closing, leave_report
from mmsls.report.progress import ChainProgress


def parser() -> argparse.ArgumentParser:
    options = run_parser(__doc__, 'config that the checkpoint was tuned with, or is to be')
    options.add_argument(
        'checkpoint', type=path_argument, nargs='?', help='the tuned model (default: the untuned base)'
    )
    options.add_argument(
        '--split',
        choices=SPLITS,
        help='whose images, with the test transform (default: train for classification, else val)',
    )
    options.add_argument(
        '--out', type=path_argument, help='index file (default: pruning_index.json in the work directory)'
    )
    options.add_argument(
        '--criterion', help="what scores the blocks (default: the hook's, or sls), such as LinearProbe"
    )
    add_also(options)
    add_rule_options(options)
    options.add_argument('--max-samples', type=int, help='most samples kept')
    options.add_argument('--seed', type=int, help='seed of the choice of samples and of t-SNE')
    return options


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfg = runs.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    overrides = chosen(args) | chosen(args, 'max_samples', 'seed', 'criterion', 'also')
    runs.start_processes(cfg)
    console = terminal()
    with ChainProgress(console) as progress:
        stage = progress.stage(f'score {args.split or runs.default_split(cfg)}', False)
        index = runs.score(cfg, args.checkpoint, args.split, args.out, on_batch=stage.on_batch, **overrides)
        progress.stage('cost of every depth', False)
        path = args.out or Path(cfg.work_dir) / INDEX_FILE
        page = on_main_process(partial(with_costs, cfg, path, args.checkpoint))
    if is_main_process():
        for line in closing(index, Path(path), page):
            console.print(line, highlight=False, soft_wrap=True, markup=False)


def with_costs(cfg: Config, path: str | Path, checkpoint: str | None) -> Path | None:
    runs.leave_costs(cfg, path, checkpoint)
    return leave_report(path)
