"""Tune, score, prune, retrain and evaluate one config; run the same command again to go on after an interruption."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.chain.checks import check_configs
from mmsls.chain.configs import as_published, check_decision, scored_also, scored_by, without_sls_hook
from mmsls.chain.restart import CONSOLE_LOG, forget
from mmsls.chain.state import CURVE_FILE, INDEX_FILE, ChainState
from mmsls.cli import SAME_COMMAND, add_also, add_rule_options, chosen, one_line_errors, path_argument, run_parser
from mmsls.cost.complexity import summary_line
from mmsls.files.trouble import naming
from mmsls.files.writing import write_text
from mmsls.pruning_index import PruningIndex
from mmsls.report.console_log import terminal
from mmsls.report.leaving import PAGE, closing
from mmsls.report.progress import ChainProgress
from mmsls.report.table import markdown_table, rich_table
from mmsls.runs.configs import with_bridge, with_distill, with_refit
from mmsls.scoring.stability import stability_line


def parser() -> argparse.ArgumentParser:
    options = run_parser(__doc__, 'config that tunes adapters at full depth')
    options.add_argument(
        '--pruned', type=path_argument, help='config of the retraining (default: the tuning config at the kept depths)'
    )
    options.add_argument(
        '--baseline',
        type=path_argument,
        help='config of the frozen backbone with a trained head, for the metric of the row "full"',
    )
    options.add_argument('--criterion', help="what scores the blocks (default: the hook's, or sls), such as bridged")
    add_also(options)
    options.add_argument(
        '--bridge',
        action='store_true',
        help='fit a linear bridge in the place of what is removed, and retrain from there (also: backbone.bridge=True)',
    )
    options.add_argument(
        '--bridge-rank', type=int, help='as --bridge, with maps of at most this rank (also: backbone.bridge=RANK)'
    )
    options.add_argument(
        '--as-published',
        action='store_true',
        help="the paper's way whatever the config says: SLS's scores, read by alpha, nothing mended",
    )
    options.add_argument(
        '--refit-head',
        action='store_true',
        help="fit the head's last layer anew in closed form after the cut, and retrain from there",
    )
    options.add_argument(
        '--distill',
        action='store_true',
        help="draw the cut model's features to the tuned model's while it is retrained (also: mmsls.DistillHook)",
    )
    options.add_argument(
        '--decide-first',
        action='store_true',
        help='score the untuned base and tune once, at the kept depths (with --criterion probe --max-drop 1, say)',
    )
    add_rule_options(options)
    options.add_argument(
        '--until', choices=('score',), help='stop after scoring, to look at the curve before anything is pruned'
    )
    options.add_argument('--restart', action='store_true', help='forget an earlier run in the work directory')
    shown = options.add_mutually_exclusive_group()
    shown.add_argument('--verbose', action='store_true', help="show the host's log lines too")
    shown.add_argument('--quiet', action='store_true', help='show nothing but the results')
    return options


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser()
    args = options.parse_args(argv)
    others = (args.criterion, args.bridge, args.bridge_rank, args.refit_head, args.distill, args.max_drop)
    if args.as_published and not all(value in (None, False) for value in others):
        options.error(
            '--as-published goes without --criterion, --bridge, --bridge-rank, --refit-head, --distill and --max-drop'
        )
    return args


NO_TEST = 'Metrics are of the validation images, which chose the checkpoints too: the config has no test part.'


def summary(index: PruningIndex) -> str:
    """Say in a few lines what was decided, and how sure that is."""
    lines = [f'kept {index.kept_depths} of {tuple(index.backbone["depths"])} blocks at {index.told}']
    if index.subset:
        lines.append(f'kept (stage, block): {", ".join(map(str, index.subset))}')
    about = index.provenance
    if 'together' in about:
        asked = (
            f' (max_drop was {about["asked_max_drop"]:g}: together the stages lose more)'
            if 'asked_max_drop' in about
            else ''
        )
        lines.append(
            f'bridged, before any retraining: {about["together"]:.1f} of {about["whole"]:.1f} points of '
            f'{about["metric"]} on {about["split"]}{asked}'
        )
    if index.borderline:
        lines.append(
            f'close calls, within {index.rule.margin:g} of their threshold: (stage, block) '
            f'{", ".join(map(str, index.borderline))}'
        )
    sure = stability_line(index.provenance.get('stability'))
    lines += [text for text in (sure, index.note, index.provenance.get('warning')) if text]
    return '\n'.join(lines)


def written(work_dir: Path, until: str | None) -> str:
    """Say where things are, and how to go on."""
    files = f'In {work_dir}: results.md, {CURVE_FILE}, curve.csv, console.log'
    if until:
        return (
            f'{files}; run again without --until to prune and train, '
            'with another --alpha, --max-drop, --reference or --min-depth if you like'
        )
    if (work_dir / 'task').exists():
        return f'{files}, task/ (what one task stores; mmsls unpack, TaskLibrary)'
    return f'{files}; no task/, since it is made of checkpoints that SlimCheckpointHook slimmed'


def configs(args: argparse.Namespace) -> tuple[Config, Config | None, Config | None]:
    """Return the configs that tune, retrain and set the baseline, as the command line has them."""
    shared = args.work_dir, args.cfg_options, args.launcher
    tune = runs.load_config(args.config, *shared)
    pruned, baseline = runs.load_configs((args.pruned, args.baseline), *shared)
    if args.as_published:
        tune, pruned = as_published(tune), None if pruned is None else as_published(pruned)
    if args.criterion is not None:
        tune = scored_by(tune, args.criterion, args.keep, args.bridge_rank)
    if args.also is not None:
        tune = scored_also(tune, args.also)
    if args.bridge or args.bridge_rank is not None:
        rank = True if args.bridge_rank is None else args.bridge_rank
        pruned = with_bridge(pruned or without_sls_hook(tune), rank)
    if args.refit_head:
        pruned = with_refit(pruned or without_sls_hook(tune))
    if args.distill:
        pruned = with_distill(pruned or without_sls_hook(tune))
    return tune, pruned, baseline


@one_line_errors(SAME_COMMAND)
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    console = terminal()
    tune, pruned, baseline = configs(args)
    work_dir = Path(tune.work_dir)
    check_decision(tune, chosen(args))
    check_configs(tune, pruned, baseline, args.decide_first)
    runs.start_processes(tune)
    if args.restart:
        left = forget(work_dir)
        for path in left if is_main_process() else ():
            console.print(f"{path} is not the chain's and stays", highlight=False, soft_wrap=True)
    ChainState(work_dir).check_unowned()  # before anything is written
    log = None if args.verbose else work_dir / CONSOLE_LOG
    with naming(work_dir), ChainProgress(console, log, args.quiet) as progress:
        chain = Chain(tune, work_dir, progress, pruned, baseline, chosen(args), args.decide_first)
        rows = chain.run(args.until == 'score')
    if is_main_process():
        index = PruningIndex.load(work_dir / INDEX_FILE)
        note = '' if chain.tested_on == 'test' else f'\n{NO_TEST}\n'
        write_text(markdown_table(rows) + note, work_dir / 'results.md')
        console.print(rich_table(rows))
        if note:
            console.print(NO_TEST, highlight=False, soft_wrap=True)
        parameters = rows[-1].parameters
        assert parameters is not None  # every row of a chain is measured
        last = f'{rows[-1].name}: {summary_line(parameters)}'
        page = work_dir / PAGE
        for line in (
            *closing(index, work_dir / INDEX_FILE, page if page.exists() else None),
            summary(index),
            last,
            written(work_dir, args.until),
        ):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
