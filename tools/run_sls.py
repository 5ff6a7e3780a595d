"""Tune, score, prune, retrain and evaluate one config; run the same command again to go on after an interruption."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mmengine.dist import barrier, is_main_process

from mmsls import pipeline, runs
from mmsls.chain_configs import check_decision
from mmsls.command_line import add_rule_options, chosen, one_line_errors, run_parser
from mmsls.complexity import summary_line
from mmsls.pruning_index import PruningIndex
from mmsls.report.progress import ChainProgress, terminal
from mmsls.report.table import markdown_table, rich_table


def parse_args() -> argparse.Namespace:
    parser = run_parser(__doc__, 'config that tunes adapters at full depth')
    parser.add_argument('--pruned', help='config of the retraining (default: the tuning config at the kept depths)')
    parser.add_argument(
        '--baseline', help='config of the frozen backbone with a trained head, for the metric of the row "full"'
    )
    add_rule_options(parser)
    parser.add_argument(
        '--until', choices=('score',), help='stop after scoring, to look at the curve before anything is pruned'
    )
    parser.add_argument('--restart', action='store_true', help='forget an earlier run in the work directory')
    parser.add_argument('--verbose', action='store_true', help="show the host's log lines too")
    return parser.parse_args()


STAGES = ('full', 'tuned', 'score', 'untuned', 'pruned', 'retrained', 'task')


def forget(work_dir: Path) -> None:
    """Remove what a chain left in its work directory, and nothing else."""
    for name in STAGES:
        shutil.rmtree(work_dir / name, ignore_errors=True)
    for path in work_dir.glob('depth_*'):  # of benchmarks/depths.py, which starts from the chain's tuned model
        shutil.rmtree(path)
    for name in (pipeline.STATE_FILE, pipeline.INDEX_FILE, pipeline.CURVE_FILE, 'results.json', 'results.md'):
        (work_dir / name).unlink(missing_ok=True)


def summary(index: PruningIndex) -> str:
    """Say in one or two lines what was decided, and how sure that is."""
    lines = [
        f'kept {index.kept_depths} of {tuple(index.backbone["depths"])} blocks at alpha {index.alpha}, scope {index.scope}'
    ]
    if index.borderline:
        lines.append(
            f'close calls, within 0.05 of their threshold: (stage, block) {", ".join(map(str, index.borderline))}'
        )
    lines += [text for text in (index.note, index.provenance.get('warning')) if text]
    return '\n'.join(lines)


def written(work_dir: Path, until: str | None) -> str:
    """Say where things are, and how to go on."""
    files = f'In {work_dir}: results.md, {pipeline.CURVE_FILE}, console.log'
    if until:
        return f'{files}; run again without --until to prune and retrain, with another --alpha, --reference or --min-depth if you like'
    if (work_dir / 'task').exists():
        return f'{files}, task/ (what one task stores; tools/unpack.py, TaskLibrary)'
    return f'{files}; no task/, since it is made of checkpoints that SlimCheckpointHook slimmed'


def main() -> None:
    args = parse_args()
    console = terminal()
    tune, pruned, baseline = (
        None if path is None else runs.load_config(path, args.work_dir, args.cfg_options, args.launcher)
        for path in (args.config, args.pruned, args.baseline)
    )
    work_dir = Path(tune.work_dir)
    check_decision(tune, chosen(args))
    runs.start_processes(tune)
    if args.restart and is_main_process():
        forget(work_dir)
    barrier()
    with ChainProgress(console, None if args.verbose else work_dir / 'console.log') as progress:
        rows = pipeline.Chain(tune, work_dir, progress, pruned, baseline, chosen(args)).run(args.until == 'score')
    if is_main_process():
        index = PruningIndex.load(work_dir / pipeline.INDEX_FILE)
        (work_dir / 'results.md').write_text(markdown_table(rows))
        console.print(rich_table(rows))
        last = f'{rows[-1].name}: {summary_line(rows[-1].parameters)}'
        for line in (summary(index), last, written(work_dir, args.until)):
            console.print(line, highlight=False, soft_wrap=True)


if __name__ == '__main__':
    with one_line_errors():
        main()
