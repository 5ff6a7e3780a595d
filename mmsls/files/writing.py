"""Writing files and folders: whole or not at all, whatever breaks off meanwhile."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of `path` when the block ends, and is removed if the block fails.

    Whoever reads meanwhile, or after a crash or a power cut, finds the old file or the new one. Folders that are
    missing are made.

    Args:
        path: The file; the yielded path lies in the same folder and has the same suffix.

    Raises:
        OSError: If it cannot be written (a full disk, a folder without write access); the old file is as it was.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / 'a.txt'
        >>> with whole_file(target) as partial:
        ...     _ = partial.write_text('new')
        >>> target.read_text(), sorted(file.name for file in target.parent.iterdir())
        ('new', ['a.txt'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        if error.filename == str(partial):  # which nobody has heard of
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill, which takes the name `folder` when the block ends, or is removed if it fails.

    Raises:
        FileExistsError: If there is a folder (or file) of that name.
        OSError: If it cannot be written; nothing is left then.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f'{str(folder)!r} exists; name a new folder')
    partial = partial_of(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in partial.rglob('*'):
            sync(path)
        os.rename(partial, folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding='utf-8')


def write_json(value: Any, path: str | os.PathLike[str]) -> None:
    """Write plain data as JSON, whole or not at all."""
    write_text(json.dumps(value, indent=1) + '\n', path)


def partial_of(path: Path) -> Path:
    """Return a name of its own in the same folder: a rename is atomic only within one file system."""
    return path.with_name(f'.{path.stem}.{secrets.token_hex(4)}{path.suffix}')


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
