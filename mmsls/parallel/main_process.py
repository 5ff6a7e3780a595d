"""Work that one process does for all of a run; on one process nothing travels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mmengine.dist import barrier, broadcast_object_list, is_main_process

from mmsls.parallel.ranks import raise_first

Result = TypeVar('Result')


def on_main_process(work: Callable[[], Result]) -> Result:
    """Do work in the main process alone, and return its result in every process. Call it on every rank.

    No process goes on before the work is done, and the work does not begin before every process has come here: all of
    them have looked at what it is going to change.

    Args:
        work: Called in the main process; must not wait for the others. What it returns can be pickled.

    Raises:
        Exception: In every process the same, if the work failed.

    Example:
        >>> on_main_process(lambda: 6 * 7)
        42
    """
    barrier()
    done: list[Result | None] = [None]
    failure = None
    if is_main_process():
        try:
            done[0] = work()
        except Exception as error:  # whatever it is, the other processes wait for word
            failure = error
    raise_first(failure)
    broadcast_object_list(done)
    return done[0]  # type: ignore[return-value]
