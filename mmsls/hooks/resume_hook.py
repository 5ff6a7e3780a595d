"""A resumed training picks up the validation that its checkpoint does not know of."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any

from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmsls.registry import HOOKS

STOPPING = 'mmsls_early_stopping'
"""Where the message hub, which a checkpoint stores, holds the state of the EarlyStoppingHooks."""


@HOOKS.register_module()
class ResumeHook(Hook):
    """Validate anew what a checkpoint was saved before, and restore what MMEngine forgets.

    MMEngine saves an epoch's checkpoint before it validates the epoch, and goes on with the next epoch where it
    resumes. What that validation led to (the best score and checkpoint, early stopping, a learning rate that waits for
    a plateau, SLSHook's index) is lost then. This hook repeats the validation before the training goes on.
    `mmsls train` and the chain add it to every training.
    """

    # After the other hooks have seen that the training starts.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.before: tuple[Any, Any] | None = None
        self.differing: list[str] = []

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """See what a checkpoint lacks."""
        if runner._resume and 'optimizer' not in checkpoint:
            self.differing.append('its checkpoint holds no state of the optimizer (save_optimizer=True)')

    def before_train(self, runner: Any) -> None:
        """Repeat the validation that was due where the checkpoint was saved, and say what cannot be restored."""
        loop = runner.train_loop
        if not runner._resume or loop.iter == 0 or not isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
            return
        if loop.iter % getattr(runner.optim_wrapper, '_accumulative_counts', 1):
            self.differing.append(f'gradients were being accumulated at iteration {loop.iter}')
        within = isinstance(loop, EpochBasedTrainLoop) and loop.iter % len(loop.dataloader)
        if within:
            self.differing.append(
                f'iteration {loop.iter} is within an epoch, which MMEngine begins anew (by_epoch=True)'
            )
        if self.differing:
            text = 'this run differs from one that was not broken off: ' + ', '.join(self.differing)
            print_log(f'{text}; see to CheckpointHook', 'current', logging.WARNING)
        if within:
            return
        states = runner.message_hub.runtime_info.get(STOPPING, [])
        for hook, (waited, best) in zip(stopping_hooks(runner), states, strict=False):
            hook.wait_count, hook.best_score = waited, best
        if runner.val_loop is not None and is_validation_due(loop):
            runner.val_loop.run()

    def before_val_epoch(self, runner: Any) -> None:
        """Remember what a validation changes and a checkpoint holds: one saved in the middle is validated anew."""
        schedulers = runner.param_schedulers
        if isinstance(schedulers, list) and any(getattr(part, 'need_val_args', False) for part in schedulers):
            groups = runner.optim_wrapper.state_dict()['param_groups']
            self.before = deepcopy(([part.state_dict() for part in schedulers], groups))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Leave out what the validation has changed so far."""
        if self.before is not None and 'param_schedulers' in checkpoint:
            checkpoint['param_schedulers'], checkpoint['optimizer']['param_groups'] = deepcopy(self.before)

    def after_val(self, runner: Any) -> None:
        """Store the state of early stopping where the next checkpoint takes it along."""
        self.before = None
        states = [[hook.wait_count, float(hook.best_score)] for hook in stopping_hooks(runner)]
        if states:
            runner.message_hub.update_info(STOPPING, states)


def stopping_hooks(runner: Any) -> list[EarlyStoppingHook]:
    """Return a runner's EarlyStoppingHooks in their order."""
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]


def is_validation_due(loop: Any) -> bool:
    """Whether MMEngine's loop validates where it stands now."""
    loop._decide_current_val_interval()
    at, end = (loop.epoch, loop.max_epochs) if isinstance(loop, EpochBasedTrainLoop) else (loop.iter, loop.max_iters)
    return at >= loop.val_begin and (at % loop.val_interval == 0 or at == end)
