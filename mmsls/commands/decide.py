"""See what can be kept and what each depth costs, and decide: from the stored curve, without scoring again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext

from mmengine.config import DictAction
from rich.console import Console

from mmsls import runs
from mmsls.cli import add_rule_options, amount_argument, chosen, depths_argument, one_line_errors, path_argument
from mmsls.files.trouble import explain
from mmsls.pruning_index import PruningIndex
from mmsls.report.choices import basis, choice_table, outcome
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.runs.costing import costs_path
from mmsls.runs.deciding import TARGETS, Decider


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        'index', type=path_argument, help='pruning index; without a wish it is shown and left as it is'
    )
    add_rule_options(options)
    options.add_argument('--depths', type=depths_argument, help='blocks per stage by hand, such as 2,2,4,1')
    options.add_argument('--max-params', type=amount_argument, help='most parameters of the model, such as 4M')
    options.add_argument('--target-latency', type=float, help="share of the full model's time, such as 0.7")
    options.add_argument(
        '--sure',
        type=float,
        nargs='?',
        const=1.0,
        metavar='ERRORS',
        help='smallest depth that loses at most --max-drop points with so many standard errors added (default 1)',
    )
    options.add_argument(
        '--verify',
        nargs=2,
        type=path_argument,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='smallest depth that loses at most --max-drop points (default 1) on validation images, bridged',
    )
    options.add_argument('--config', type=path_argument, help='config of the model, to measure what every depth costs')
    options.add_argument('--checkpoint', type=path_argument, help='weights at full depth, to measure a detector with')
    options.add_argument('--out', type=path_argument, help='index to write (default: the same file)')
    options.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value settings that override the config'
    )
    return options


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser()
    args = options.parse_args(argv)
    if args.verify and args.config:
        options.error('--verify names its config; leave --config out')
    if args.checkpoint and not args.config:
        options.error('--checkpoint is measured by --config CONFIG; name both')
    return args


def decider(args: argparse.Namespace, index: PruningIndex, progress: ChainProgress | None) -> Decider:
    """Return what decides as the command line says."""
    targets = chosen(args, *TARGETS)
    config = args.config
    if args.verify:
        config, targets['verify'] = args.verify
    cfg = runs.load_config(config, options=args.cfg_options) if config else None
    on_batch = None
    if progress is not None:
        on_batch = progress.stage('try depths out' if args.verify else 'measure every depth', False).on_batch
    return Decider(index, args.index, chosen(args), targets, cfg, args.checkpoint, on_batch)


def keep_costs(made: Decider, console: Console) -> None:
    """Leave costs that were measured beside the index, if there they can be."""
    if made.costs is not None and made.measured:
        path = costs_path(made.path)
        try:
            made.costs.save(path)
            console.print(f'wrote {path}', highlight=False, soft_wrap=True)
        except OSError as error:
            console.print(f'the costs are not kept: {explain(error) or error}', highlight=False, soft_wrap=True)


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    console = terminal()
    before = PruningIndex.load(args.index)
    with ChainProgress(console) if args.config or args.verify else nullcontext() as progress:
        made = decider(args, before, progress)
        index = made.decide()
    keep_costs(made, console)
    console.print(choice_table(index, made.costs))
    lines = [*basis(index, made.costs), *outcome(index, before)]
    out = args.out or args.index
    if index != before or args.out:
        index.save(out)
        lines.append(f'wrote {out}')
    else:
        lines.append(f'{out} is as it was')
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
