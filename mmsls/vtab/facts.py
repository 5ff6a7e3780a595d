"""What is known of a task: its group, number of classes, and the adapter scales that the method's author uses."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from mmsls.vtab.lists import count_classes

GROUPS = ('natural', 'specialized', 'structured')
"""The groups of VTAB-1k; a task of the group `other` is none of the benchmark's and enters no average of it."""
_FILE = Path(__file__).with_name('facts.csv')


@dataclass(frozen=True)
class TaskFacts:
    """The facts of one task.

    Attributes:
        task: Name of the task and of its folder.
        group: One of `GROUPS`, or `other`.
        classes: Number of classes.
        convpass_scale: Scale of Convpass; None, as the next two, where the author has none: the config's own stays.
        convpass_xavier_init: Whether Convpass initialises its convolution by Xavier.
        repadapter_scale: Scale of RepAdapter.
    """

    task: str
    group: str
    classes: int
    convpass_scale: float | None = None
    convpass_xavier_init: bool | None = None
    repadapter_scale: float | None = None


@lru_cache(maxsize=1)
def _all_facts() -> dict[str, TaskFacts]:
    with _FILE.open(newline='') as file:
        return {row['task']: _facts(row) for row in csv.DictReader(file)}


def _facts(row: dict[str, str]) -> TaskFacts:
    return TaskFacts(
        task=row['task'],
        group=row['group'],
        classes=int(row['classes']),
        convpass_scale=float(row['convpass_scale']),
        convpass_xavier_init=row['convpass_xavier_init'] == 'True',
        repadapter_scale=float(row['repadapter_scale']),
    )


def task_names(group: str | None = None) -> list[str]:
    """Return the names of the tasks of a group, or of the benchmark's 19 tasks.

    Example:
        >>> len(task_names()), task_names('specialized')[1]
        (19, 'eurosat')
    """
    return [
        name
        for name, facts in _all_facts().items()
        if (facts.group in GROUPS if group is None else facts.group == group)
    ]


def group_of(task: str) -> str:
    """Return the group of a task: `other` for one that the table does not know.

    Example:
        >>> group_of('svhn'), group_of('leaves')
        ('natural', 'other')
    """
    known = _all_facts()
    return known[task].group if task in known else 'other'


def facts_of(task: str, data_root: str | Path | None = None) -> TaskFacts:
    """Return the facts of a task: of the table, or, for any other folder with the lists, what the lists tell.

    Args:
        task: Name of the task and of its folder.
        data_root: Folder that holds one folder per task; None: only the table is asked.

    Raises:
        ValueError: If there is neither such a task nor such a folder (the message names the nearest tasks), or the
            folder's training list does not number its classes.
        FileNotFoundError: If the folder has no training list.

    Example:
        >>> facts_of('svhn').convpass_scale
        100.0
    """
    known = _all_facts()
    if task in known:
        return known[task]
    folder = None if data_root is None else Path(data_root).expanduser() / task
    if folder is not None and task not in ('', '..') and Path(task).name == task and folder.is_dir():
        return TaskFacts(task, 'other', count_classes(folder))
    near = get_close_matches(str(task), known, n=2)
    meant = f'did you mean {" or ".join(map(repr, near))}? ' if near else ''
    own = '' if folder is None else f', and {str(folder)!r} is no folder with the lists of one'
    raise ValueError(f'task: no task is called {task!r}{own}; {meant}Known: {", ".join(known)}')
