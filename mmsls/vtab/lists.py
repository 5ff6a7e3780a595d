"""The list files of a task: lines of `relative/path label`, and the classes that they name."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from mmsls.files.reading import read_text

TRAIN_LIST, TEST_LIST = 'train800val200.txt', 'test.txt'
LISTS = ('train800.txt', 'val200.txt', TRAIN_LIST, TEST_LIST)
LONGEST = 1000
"""Characters of a path in a list."""
SHOWN = 3
"""How many entries an error names."""


def read_list(path: Path) -> list[tuple[str, int]]:
    """Return path and label of every line that holds any, in order.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If it is empty, or a line is not `path label`.
    """
    if not path.is_file():
        task = path.parent.name
        raise FileNotFoundError(
            f'task {task!r}: no list at {str(path)!r}; data_root must hold the folder {task!r} with its lists '
            f'{", ".join(LISTS)}'
        )
    lines = enumerate(read_text(path).splitlines(), 1)
    entries = [parse_line(path, number, line) for number, line in lines if line.strip()]
    if not entries:
        raise ValueError(f'{path}: the list is empty')
    return entries


def parse_line(path: Path, number: int, line: str) -> tuple[str, int]:
    """Split a line into path and label; paths may hold spaces.

    Raises:
        ValueError: If the line has no whole number at its end, or the path is none inside the task's folder.

    Example:
        >>> parse_line(Path('test.txt'), 1, 'images/test/a b.jpg 7')
        ('images/test/a b.jpg', 7)
    """
    name, _, label = line.strip().rpartition(' ')
    if not name or not re.fullmatch('-?[0-9]{1,9}', label):
        raise ValueError(f'{path}, line {number}: {line[:100]!r} is not "relative/path label"')
    if Path(name).is_absolute() or '..' in Path(name).parts or '\0' in name or len(name) > LONGEST:
        raise ValueError(f'{path}, line {number}: {name[:100]!r} is no path inside the folder of the task')
    return name, int(label)


def count_classes(folder: Path) -> int:
    """Return the number of classes of a task, which its training list numbers from 0 on without a gap.

    Raises:
        FileNotFoundError: If the training list is not there.
        ValueError: If the list cannot be read, or a class number below its highest one has no image.
    """
    path = folder / TRAIN_LIST
    found = {label for _, label in read_list(path)}
    if min(found) < 0:
        raise ValueError(f'{path}: label {min(found)} is no class; classes are numbered from 0 on')
    highest = max(found)
    missing = list(islice((label for label in range(highest) if label not in found), SHOWN))
    if missing:
        raise ValueError(
            f'{path}: no image is of class {", ".join(map(str, missing))}, but some are of class {highest}; '
            'number the classes from 0 on without gaps'
        )
    return highest + 1
