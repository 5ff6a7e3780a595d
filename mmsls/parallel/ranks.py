"""Work and failures shared by all processes of a run; on one process nothing travels."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from joblib import cpu_count
from mmengine.dist import all_gather_object, get_dist_info, get_rank

Item = TypeVar('Item')
Result = TypeVar('Result')


class OtherProcess(Exception):
    """What went before a failure in another process: its traceback, as text."""


def raise_first(failure: Exception | None) -> None:
    """Raise in every process the failure of the first process that has one. Call it on every rank.

    So no process waits in a later exchange for one that failed before it.
    """
    told = None if failure is None else (portable(failure), ''.join(traceback.format_exception(failure)))
    for rank, theirs in enumerate(all_gather_object(told)):
        if theirs is not None:
            if failure is not None and rank == get_rank():
                raise failure
            raise theirs[0] from OtherProcess(f'process {rank}\n{theirs[1]}')


def shared_out(work: Callable[[Sequence[Item]], Mapping[Item, Result]], items: Sequence[Item]) -> dict[Item, Result]:
    """Let every process do its part of the items, and return all results in their order; call it on every rank.

    Args:
        work: Does some of the items, never none of them.
        items: The same on every rank.

    Raises:
        Exception: In every process the same, if the work failed in one.
    """
    rank, world = get_dist_info()
    done: Mapping[Item, Result] = {}
    failure = None
    try:
        if items[rank::world]:
            done = work(items[rank::world])
    except Exception as error:  # whatever it is, the other processes wait for word
        failure = error
    raise_first(failure)
    found: dict[Item, Result] = {}
    for part in all_gather_object(done):
        found.update(part)
    return {item: found[item] for item in items}


def jobs_here(n_jobs: int | None) -> int:
    """Return how many threads one process may use: what was asked for, else its share of the machine's cores."""
    # torchrun tells how many processes it started on this machine; other launchers leave one process the whole of it.
    return n_jobs if n_jobs is not None else max(1, cpu_count() // int(os.environ.get('LOCAL_WORLD_SIZE', 1)))


def portable(failure: Exception | None) -> Any:
    """Return a failure that can travel to another process: itself, or one that says the same.

    Example:
        >>> portable(ValueError('no'))
        ValueError('no')
    """
    try:
        return pickle.loads(pickle.dumps(failure))
    except Exception:  # an exception class may keep anything, or demand other arguments
        return RuntimeError(f'{type(failure).__name__}: {failure}')
