"""VTAB-1k by one command, and tasks of your own: tune, score, prune, retrain and test them, compare, write the table.

A task of your own is a folder under --data-root with the four list files train800.txt, val200.txt, train800val200.txt
and test.txt, lines of `relative/path label`; its classes are counted from the training list.
Run the same command again to go on after an interruption, or with more tasks, seeds or methods.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmsls import runs
from mmsls.chain.configs import check_decision
from mmsls.cli import SAME_COMMAND, add_rule_options, chosen, one_line_errors, path_argument
from mmsls.files.writing import write_text
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.vtab.dataset import VTAB1k
from mmsls.vtab.facts import GROUPS, group_of, task_names
from mmsls.vtab.methods import METHODS, check_methods
from mmsls.vtab.results import RESULTS_FILE, Result, load, save, summary_table, task_table
from mmsls.vtab.settings import LOADERS, for_epochs, for_machine, for_retraining, for_task
from mmsls.vtab.task_run import TaskRun


def names(text: str) -> list[str]:
    found = [part for part in text.split(',') if part]
    if not found:
        raise argparse.ArgumentTypeError('name at least one')
    return list(dict.fromkeys(found))


def seeds(text: str) -> list[int]:
    return list(dict.fromkeys(map(int, names(text))))


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return int(text)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        '--config', type=path_argument, default='mmsls::cls/vtab/deit-tiny_convpass.py', help='backbone and method'
    )
    options.add_argument(
        '--tasks',
        type=names,
        default=task_names(),
        help='names, groups and folders of your own, comma-separated (default: all 19)',
    )
    options.add_argument(
        '--data-root', type=path_argument, help="folder that holds one folder per task (default: the config's)"
    )
    options.add_argument(
        '--methods', type=names, default=[], help=f'compare with, comma-separated: {", ".join(METHODS)}, or all'
    )
    options.add_argument('--seeds', type=seeds, default=[0], help='comma-separated (default: 0)')
    options.add_argument(
        '--epochs', type=positive, help='of tuning and of retraining each (default: 100, as the author)'
    )
    options.add_argument(
        '--retrain-lr',
        type=float,
        help='constant learning rate of the retraining, such as 1e-5 (default: as the tuning)',
    )
    options.add_argument('--retrain-epochs', type=positive, help='of retraining, where other than --epochs')
    options.add_argument('--workers', type=int, help='data-loading processes per loader')
    options.add_argument('--batch-size', type=positive)
    options.add_argument('--work-dir', type=path_argument, help="where results go (default: the config's)")
    options.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    add_rule_options(options)
    options.add_argument('--quiet', action='store_true', help='show nothing but the results')
    return options


def wanted_tasks(given: list[str]) -> list[str]:
    """Return the tasks that are named one by one or by their group."""
    tasks = [task for name in given for task in (task_names(name) if name in GROUPS else [name])]
    return list(dict.fromkeys(tasks))


@one_line_errors(SAME_COMMAND)
def main(argv: Sequence[str] | None = None) -> None:
    args, console = parser().parse_args(argv), terminal()
    methods = list(METHODS) if args.methods == ['all'] else args.methods
    tasks = wanted_tasks(args.tasks)
    cfg = for_machine(
        runs.load_config(args.config, args.work_dir, launcher=args.launcher), args.workers, args.batch_size
    )
    if args.epochs is not None:
        cfg = for_epochs(cfg, args.epochs)
    check_methods(methods, cfg.model.backbone)
    check_decision(cfg, chosen(args))
    for task in tasks:
        check_data(for_task(cfg, task, args.data_root))
    for_retraining(cfg, args.retrain_lr, args.retrain_epochs)  # refuses a rate out of range before anything is trained
    runs.start_processes(cfg)
    root = Path(cfg.work_dir)
    for task in tasks:
        for seed in args.seeds:
            folder = root / task / f'seed{seed}'
            if not args.quiet:
                console.print(f'{task}, seed {seed}', highlight=False)
            with ChainProgress(console, folder / 'console.log', args.quiet) as progress:
                tune = for_task(cfg, task, args.data_root)
                pruned = for_retraining(tune, args.retrain_lr, args.retrain_epochs)
                TaskRun(tune, folder, progress, task, seed, methods, chosen(args), pruned).compare()
    if is_main_process():
        results = stored_results(root)
        text = report(results)
        write_text(text, root / 'table.md')
        save(results, root / 'results.json')
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def check_data(cfg: Config) -> None:
    """See that all lists and images of a task are there before any task is trained."""
    lists = {loader.dataset.ann_file: loader.dataset for loader in map(cfg.get, LOADERS) if loader}
    for dataset in lists.values():
        VTAB1k(dataset.data_root, dataset.task, dataset.ann_file)


def stored_results(root: Path) -> list[Result]:
    """Return all results under a folder, those of earlier calls too: tasks in VTAB-1k's order, then seeds."""
    order = [*task_names(), *(path.name for path in sorted(root.iterdir()))]
    found = [result for path in root.glob(f'*/seed*/{RESULTS_FILE}') for result in load(path)]
    return sorted(found, key=lambda result: (order.index(result.task), result.seed))


def report(results: list[Result]) -> str:
    """Return all tables as Markdown."""
    parts = []
    for task in dict.fromkeys(result.task for result in results):
        parts += [f'## {task}\n', task_table([result for result in results if result.task == task])]
    benchmark = [result for result in results if group_of(result.task) in GROUPS]
    if benchmark:
        parts += ['## VTAB-1k\n', summary_table(benchmark)]
    return '\n'.join(parts)
