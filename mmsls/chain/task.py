"""The chain's task folder: replaced only where it is the chain's own, and never missing meanwhile for long."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from logging import WARNING
from pathlib import Path

from mmengine.logging import print_log

from mmsls.deploy.task_folder import CARD, MANIFEST, card_of, read_manifest, read_task
from mmsls.files.writing import partial_of

LEFT_BY_KILL = re.compile(r'\.+task\.[0-9a-f]{8}(\.[0-9a-f]{8}|\.partial)?')


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a task folder that is none, or holds what mmsls did not write.

    Raises:
        ValueError: Naming it.
    """
    try:
        read_task(folder)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f'{str(folder)!r} is not as the chain wrote it ({error}); move it away') from error
    strange = others_in(folder)
    if strange:
        raise ValueError(f'{str(folder)!r} holds {", ".join(strange)}, which mmsls did not write; move that away')


def others_in(folder: Path) -> list[str]:
    """Return the names in a task folder that are no part of the task."""
    known = {*read_manifest(folder)['files'], MANIFEST, CARD}
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


def replace_task(folder: Path, write: Callable[[Path], object]) -> None:
    """Write a task folder in place of the chain's earlier one; a model card that somebody edited is kept.

    Args:
        folder: The task folder; what lies there is the chain's (`check_replaceable`).
        write: Writes the task into a folder that is not there yet.

    Raises:
        ValueError: If `write` refuses, or the folder is not the chain's any more; what lies there stays as it is.
    """
    for path in folder.parent.iterdir():
        if LEFT_BY_KILL.fullmatch(path.name) and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
    new = partial_of(folder)
    try:
        write(new)
        if folder.exists():
            check_replaceable(folder)
            if read_manifest(folder) == read_manifest(new):
                return
            old = partial_of(folder) if is_card_as_written(folder) else free_name(folder)
            folder.rename(old)
            if not LEFT_BY_KILL.fullmatch(old.name):
                print_log(f'{folder}: the earlier task, whose {CARD} was edited, is {old} now', 'current', WARNING)
            new.rename(folder)
            if LEFT_BY_KILL.fullmatch(old.name):
                shutil.rmtree(old)
        else:
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def is_card_as_written(folder: Path) -> bool:
    """Whether nobody edited a task folder's model card."""
    card = folder / CARD
    return not card.exists() or card.read_bytes() == card_of(read_task(folder)).encode()


def free_name(folder: Path) -> Path:
    """Return a name beside a folder that is not taken."""
    number = 1
    while (path := folder.with_name(f'{folder.name}_{number}')).exists():
        number += 1
    return path
