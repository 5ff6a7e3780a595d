"""Forgetting an earlier chain: what it wrote goes, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmsls.chain.state import REPORT, STATE_FILE, TASK, ChainState
from mmsls.chain.task import is_card_as_written
from mmsls.deploy.task_folder import CARD, MANIFEST, read_manifest, read_task
from mmsls.files.writing import write_json
from mmsls.parallel.main_process import on_main_process

CONSOLE_LOG = 'console.log'
_TIME, _HASH = r'\d{8}_\d{6}', '[0-9a-f]{8}'
WRITTEN = re.compile(
    '|'.join(
        (
            rf'\.[^/]+\.{_HASH}(\.\w+)?',  # what a kill left of a file that was being written
            r'done\.json|metrics\.json|widths\.json|(start|stored|bridged|refitted)\.pth|last_checkpoint|pruning_index\.json',
            '|'.join(map(re.escape, REPORT)),
            r'also_\w+\.json',  # indexes of other criteria
            rf'(best_[^/]+_)?(epoch|iter)_\d+(-{_HASH})?\.pth',
            rf'{_TIME}/({_TIME}\.log|vis_data/(config\.py|scalars\.json|{_TIME}\.json|events\.out\.tfevents\.[^/]+))',
            rf'{_TIME}\.py',
        )
    )
)
"""What MMEngine and the chain write into a stage's folder; whatever else lies there is somebody's own."""


def forget(work_dir: Path) -> list[Path]:
    """Remove what a chain wrote into its work directory.

    Returns:
        What lies in the chain's folders and is not the chain's: it stays.

    Raises:
        ValueError: If no chain wrote there, or a folder of the chain is a link now; nothing is removed then.
    """
    state = ChainState(work_dir)
    if not state.content:
        if not work_dir.exists() or {path.name for path in work_dir.iterdir()} <= {CONSOLE_LOG}:
            return []
        raise ValueError(
            f'--restart: work_dir {str(work_dir)!r} holds no {STATE_FILE}, so no chain wrote what lies there, and '
            'nothing was removed; give another work_dir, or leave --restart out'
        )
    if 'wrote' not in state.content:
        raise ValueError(
            f'--restart: {str(state.path)!r} is of an earlier release and does not say what was written, so nothing '
            'was removed; give another work_dir'
        )
    links = [name for name in state.wrote if (work_dir / name).is_symlink()]
    if links:
        raise ValueError(
            f'--restart: in work_dir {str(work_dir)!r}, {", ".join(links)} became a link, and nothing was removed; '
            'remove or move it yourself'
        )
    state.save(forgetting=True)
    return on_main_process(partial(remove_written, state))


def remove_written(state: ChainState) -> list[Path]:
    """Remove what a chain wrote, and its state where nothing of somebody's own keeps a folder; return what stays."""
    for path in removable(state):
        path.unlink(missing_ok=True)
    folders = {name.split('/')[0] for name in state.wrote}
    left = sorted(path for name in folders for path in remains(state.work_dir / name))
    if left:  # their folders stay the chain's
        write_json({'wrote': sorted({path.relative_to(state.work_dir).parts[0] for path in left})}, state.path)
    else:
        state.path.unlink()
    return left


def removable(state: ChainState) -> Iterator[Path]:
    """Yield the files that the chain wrote."""
    for name in state.wrote:
        path = state.work_dir / name
        if path.is_file():
            yield path
        elif name == TASK and path.is_dir():
            yield from files_of_task(path)
        elif path.is_dir():
            yield from (file for file in files_in(path) if WRITTEN.fullmatch(file.relative_to(path).as_posix()))


def files_of_task(folder: Path) -> list[Path]:
    """Return a task's files as mmsls wrote them; none where the folder is not a whole task any more."""
    try:
        read_task(folder)  # compares every file with its hash
        names = [*read_manifest(folder)['files'], MANIFEST, *([CARD] if is_card_as_written(folder) else [])]
    except (FileNotFoundError, ValueError):
        return []
    return [folder / name for name in names if Path(name).name == name]


def files_in(folder: Path) -> Iterator[Path]:
    """Yield every file under a folder, links to folders not followed."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names if not (Path(parent) / name).is_symlink())


def remains(folder: Path) -> list[Path]:
    """Remove the empty folders under a folder and itself if it is empty; return what is left in it."""
    if not folder.is_dir():
        return []
    for parent, _, _ in os.walk(folder, topdown=False):
        if not any(Path(parent).iterdir()):
            Path(parent).rmdir()
    return [path for path in folder.rglob('*') if path.is_symlink() or not path.is_dir()] if folder.exists() else []
