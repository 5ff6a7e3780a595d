"""Build the task folders of the small real runs, and open them on the one base that they share.

    OMP_NUM_THREADS=1 python benchmarks/model_zoo.py

Each is a whole chain, decided in points and bridged (`--criterion bridged --max-drop 1 --bridge`). What is done is not
done twice: the same command goes on after an interruption. `--budget 0.1` shortens every training: for a look.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from depth_study import MAX_DROP, TASKS, shorten
from mmengine.config import Config

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.chain.configs import scored_by, without_sls_hook
from mmsls.chain.stages import Progress
from mmsls.cli import one_line_errors, path_argument
from mmsls.cost.measuring import Row
from mmsls.deploy.task_folder import read_task
from mmsls.deploy.task_library import TaskLibrary
from mmsls.files.writing import whole_folder
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.runs.configs import with_bridge

ZOO = {name: TASKS[name] for name in ('camvid', 'bccd', 'sign_digits')}
"""Road scenes, blood cells, sign-language digits: three toolboxes on one DeiT-Tiny."""


def build(tune: Config, folder: Path, progress: Progress) -> Row:
    """Run a config's chain, or what is left of it, and leave its task in a folder of its own.

    Args:
        tune: Config that tunes at full depth; its `work_dir` is where the chain goes.
        folder: The task folder; what an earlier call left there is replaced.
        progress: Who shows how far it is.

    Returns:
        The chain's last row.
    """
    work_dir = Path(tune.work_dir)
    retrain = with_bridge(without_sls_hook(tune))
    *_, last = Chain(scored_by(tune, 'bridged'), work_dir, progress, retrain, decision={'max_drop': MAX_DROP}).run()
    if folder.exists():
        read_task(folder)  # nothing else is removed
        shutil.rmtree(folder)
    with whole_folder(folder) as partial:
        shutil.copytree(work_dir / 'task', partial, dirs_exist_ok=True)
    return last


def table(folders: Sequence[Path], rows: Sequence[Row]) -> str:
    """Open task folders on one base, and return what they are and take, as Markdown."""
    library = TaskLibrary()
    lines = ['| task | toolbox | blocks kept | metric on test | stored (KiB) |', '|---|---|---|---|---:|']
    for folder, row in zip(folders, rows, strict=True):
        cfg = library.open(folder, folder.name).cfg
        stored = sum(path.stat().st_size for path in folder.iterdir()) / 1024
        metric = ', '.join(f'{key} {value:.4g}' for key, value in list((row.metrics or {}).items())[:1])
        kept = '-'.join(map(str, row.depths))
        lines.append(f'| {folder.name} | {cfg.default_scope} | {kept} | {metric} | {stored:.0f} |')
    memory = library.memory()
    return '\n'.join([*lines, '', f'one base for all: {memory.base / 2**20:.1f} MiB in memory, not stored with them'])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tasks', nargs='+', choices=ZOO, default=list(ZOO), help='which of them (default: all)')
    parser.add_argument('--budget', type=float, default=1.0, help='share of the trainings (default: all of them)')
    parser.add_argument('--work-dir', type=path_argument, default='work_dirs/zoo')
    return parser.parse_args()


@one_line_errors('the same command goes on where it stopped')
def main() -> None:
    args = parse_args()
    root = Path(args.work_dir)
    (root / 'runs').mkdir(parents=True, exist_ok=True)
    folders, rows = [root / name for name in args.tasks], []
    with ChainProgress(terminal(), root / 'runs/console.log') as progress:
        for folder in folders:
            tune = runs.load_config(ZOO[folder.name], str(root / 'runs' / folder.name))
            if args.budget < 1:
                shorten(tune, args.budget)
            rows.append(build(tune, folder, progress))
    print(table(folders, rows))


if __name__ == '__main__':
    main()
