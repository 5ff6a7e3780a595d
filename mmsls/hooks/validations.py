"""Which validation of a training this is, and what one runs with."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from mmengine.runner.amp import autocast
from torch import nn


def training_of(runner: Any) -> Any:
    """Return the training loop that runs, or None in a stand-alone validation or test."""
    return runner._train_loop if isinstance(runner._train_loop, BaseLoop) else None


def progress_of(loop: Any) -> tuple[int, int]:
    """Return how far a training loop is and where it ends, in what it validates by: iterations or epochs."""
    by_iteration = isinstance(loop, IterBasedTrainLoop)
    return (loop.iter, loop.max_iters) if by_iteration else (loop.epoch, loop.max_epochs)


def number_of_validation(loop: Any) -> int:
    """Count the validations up to now from where the training stands, the same whether it was resumed or not."""
    now, end = progress_of(loop)
    milestones = getattr(loop, 'dynamic_milestones', [0])
    intervals = getattr(loop, 'dynamic_intervals', [loop.val_interval])
    steps = range(max(1, loop.val_begin), now + 1)
    # The loops look up the interval of the step that comes next.
    return sum(step % intervals[bisect(milestones, step + 1) - 1] == 0 or step == end for step in steps)


def is_last(loop: Any) -> bool:
    """Whether the training ends here, as far as its loop knows before other hooks stop it."""
    now, end = progress_of(loop)
    return now >= end


def is_due(runner: Any, interval: int | None) -> bool:
    """Whether this validation is scored: the last of a training run, every `interval`-th, any outside training."""
    loop = training_of(runner)
    if loop is None or is_last(loop):
        return True
    return interval is not None and number_of_validation(loop) % interval == 0


@contextmanager
def as_validated(runner: Any, model: nn.Module) -> Iterator[None]:
    """Put in place what a validation would run: eval mode, the loop's precision, averaged weights if there are any."""
    # Not by the hook's own before_ and after_val_epoch: mmpretrain 1.2's validates a second time in the latter.
    averaging = [hook for hook in runner.hooks if isinstance(hook, EMAHook) and getattr(hook, 'evaluate_on_ema', True)]
    training = model.training
    for hook in averaging:
        hook._swap_ema_parameters()
    model.eval()
    try:
        with autocast(enabled=getattr(runner._val_loop, 'fp16', False)):
            yield
    finally:
        model.train(training)
        for hook in averaging:
            hook._swap_ema_parameters()
