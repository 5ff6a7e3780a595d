"""What is known of every task: its group, number of classes, and the adapter scales that the method's author uses."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

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
        convpass_scale: Scale of Convpass.
        convpass_xavier_init: Whether Convpass initialises its convolution by Xavier.
        repadapter_scale: Scale of RepAdapter.
    """

    task: str
    group: str
    classes: int
    convpass_scale: float
    convpass_xavier_init: bool
    repadapter_scale: float


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


def facts_of(task: str) -> TaskFacts:
    """Return the facts of a task.

    Raises:
        ValueError: If there is no such task; the message names the nearest ones.

    Example:
        >>> facts_of('svhn').convpass_scale
        100.0
    """
    known = _all_facts()
    if task not in known:
        near = get_close_matches(str(task), known, n=2)
        meant = f'did you mean {" or ".join(map(repr, near))}? ' if near else ''
        raise ValueError(f'task: no task is called {task!r}; {meant}Known: {", ".join(known)}')
    return known[task]
