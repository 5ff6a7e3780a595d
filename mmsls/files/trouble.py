"""What goes wrong with folders and disks, in words that say where and what to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC: 'make room', errno.EDQUOT: 'make room in the quota'}
HINTS = {
    **FULL,
    errno.EROFS: 'give a folder that can be written to',
    errno.EACCES: 'see to its permissions, or give another folder',
    errno.EPERM: 'see to its permissions, or give another folder',
    errno.ENOENT: 'see that it is there, and that no other program removes it',
    errno.ENOTDIR: 'give a folder',
    errno.EISDIR: 'give a file',
    errno.EEXIST: 'give another name',
    errno.EIO: 'see to the disk',
    errno.ESTALE: 'see that the network file system is mounted',
}
"""Errors of the system that no program can mend, and what people can do."""
TORCH_WRITER = re.compile(r'inline_container|PytorchStreamWriter|basic_ios')
"""What torch's own writer says when it cannot write; it drops the system's error."""


@contextmanager
def naming(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Have errors of the disk name the folder that was being written to, where they name no file.

    Raises:
        OSError: With the system's number and a file name, in place of one without, or of what torch's writer raises.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in HINTS or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(folder)) from error
    except RuntimeError as error:
        if not TORCH_WRITER.search(str(error)):
            raise
        number = errno.ENOSPC if free_bytes(Path(folder)) < 1 << 20 else errno.EIO
        raise OSError(number, os.strerror(number), str(folder)) from error


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder, or of the next one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def explain(error: OSError) -> str | None:
    """Return one line on an error of the system that names a file; None for others, whose traceback is worth more.

    Example:
        >>> explain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'work_dirs/x'))
        "'work_dirs/x': No space left on device; make room"
        >>> explain(OSError('odd')) is None
        True
    """
    if error.errno not in HINTS or error.filename is None:
        return None
    return f'{str(error.filename)!r}: {error.strerror}; {HINTS[error.errno]}'
