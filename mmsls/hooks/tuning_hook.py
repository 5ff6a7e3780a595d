"""See to it that what should learn does."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, get_priority
from torch import nn

from mmsls.backbones.recomputing import mend_checkpointing
from mmsls.checkpoint import frozen_backbones
from mmsls.hooks.gradient_watch import GradientWatch, gradient_advice, left_out, some, too_slow
from mmsls.hooks.own_rates import Raised, batch_ratio, give_own_rates, new_tensors, optimizers
from mmsls.hooks.whole_model import check_whole
from mmsls.registry import HOOKS

PATIENCE = 10
"""Optimizer steps in which a tensor may go without a gradient: a batch may hold nothing for its branch."""


@HOOKS.register_module()
class TuningHook(Hook):
    """Make what is trained inside a frozen backbone learn, and warn of what does not.

    It gives it a learning rate of its own, and makes activation checkpointing train it.

    `SlimCheckpointHook` and `SLSHook` add it where a run lists none; list it to turn a part off.

    Args:
        own_lr: Whether adapters, output norms and selected parameters learn at the optimizer's rate where
            `paramwise_cfg` slows the backbone around them (`lr_mult`, layer-wise decay). A custom key that names the
            adapter (`adapters`) counts all the same.
        check: Whether to look, from the first optimizer step on, for trained tensors without a gradient, with a rate of
            0 or under a hundredth of the largest of their optimizer, or in no optimizer.
    """

    priority = 'VERY_LOW'

    def __init__(self, own_lr: bool = True, check: bool = True) -> None:
        self.own_lr, self.check = own_lr, check
        self.watch: GradientWatch | None = None
        self.steps = 0
        self.split: bool | None = None  # not known before the rates are set

    def before_run(self, runner: Any) -> None:
        """Set the rates, before anything is resumed."""
        check_whole(runner)
        self._set_rates(runner)

    def _set_rates(self, runner: Any) -> None:
        if self.split is None and self.own_lr and tunes(runner):
            before = group_counts(runner)
            self._give_own_rates(runner)
            self.split = group_counts(runner) != before

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Refuse an optimizer's state that fits no longer.

        Raises:
            ValueError: If a resumed checkpoint was written without the groups that adapters got of their own.
        """
        self._set_rates(runner)  # FlexibleRunner resumes before it calls before_run
        state = checkpoint.get('optimizer')
        if not (self.split and runner._resume and state):
            return
        theirs = {
            name: len(part['param_groups'])
            for name, part in ({'': state} if 'param_groups' in state else state).items()
        }
        if theirs != group_counts(runner):
            raise ValueError(
                f'resume: the optimizer of this checkpoint has {theirs} parameter groups and the run has '
                f'{group_counts(runner)}, since tensors inside the frozen backbone have a learning rate of their own: '
                "dict(type='mmsls.TuningHook', own_lr=False) in custom_hooks goes on as the checkpoint was trained, or "
                'start anew with load_from'
            )

    def before_train(self, runner: Any) -> None:
        """Mend activation checkpointing, which MMEngine turns on after `before_run`, and begin to watch."""
        if not tunes(runner):
            return
        mend_checkpointing(tuned_model(runner))
        if self.own_lr:
            self._give_own_rates(runner)  # a checkpoint of an older run brings its rates along
        if self.check:
            self.watch, self.steps = GradientWatch(tuned_model(runner)), 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at each of the first optimizer steps, until all is well or it is time to say what is not."""
        if self.watch is None or not any(one.wrapper.should_update() for one in optimizers(runner)):
            return
        self.steps += 1
        idle = self.watch.idle()
        is_over = not idle or self.watch.is_certain() or self.steps >= PATIENCE
        problems = self._rate_problems(runner) if self.steps == 1 else []
        if is_over:
            problems += self._gradient_problems(runner, idle)
            self._stop()
        warn(problems)

    def after_train(self, runner: Any) -> None:
        """Say what a short run has shown."""
        if self.watch is not None and self.steps:
            warn(self._gradient_problems(runner, self.watch.idle()))
        self._stop()

    def _stop(self) -> None:
        if self.watch is not None:
            self.watch.close()
        self.watch = None

    def _give_own_rates(self, runner: Any) -> None:
        model, ratio = tuned_model(runner), batch_ratio(runner)
        raised = [tensor for one in optimizers(runner) for tensor in give_own_rates(model, one, ratio)]
        if raised:
            print_log(raised_line(raised), 'current', logging.WARNING)

    def _gradient_problems(self, runner: Any, idle: list[str]) -> list[str]:
        if not idle:
            return []
        model = tuned_model(runner)
        return [
            f'{len(idle)} trained tensors had no gradient in {self.steps} optimizer step{"s" * (self.steps > 1)} '
            f'({some(idle)}): {gradient_advice(model, idle)}'
        ]

    def _rate_problems(self, runner: Any) -> list[str]:
        model, problems, every = tuned_model(runner), [], list(optimizers(runner))
        new = {name for name, _ in new_tensors(model).values()}
        for one in every:
            by_line: dict[str, list[str]] = {}
            slow = too_slow(model, one)
            for name in slow:
                by_line.setdefault(one.settings.line_for(name), []).append(name)
            for line, names in by_line.items():
                mend = 'take it out or set it higher'
                if not self.own_lr and new.issuperset(names):
                    mend = (
                        'leave own_lr of mmsls.TuningHook at True, or name them: '
                        "custom_keys={'adapters': dict(lr_mult=1.0)}"
                    )
                problems.append(
                    f'{len(names)} trained tensors have a learning rate of {slow[names[0]]:g}, 0 or under a hundredth '
                    f'of the largest ({some(names)}): it comes from {line}; {mend}'
                )
        missing = left_out(model, every)
        if missing:
            problems.append(
                f'{len(missing)} trained tensors are in no optimizer ({some(missing)}): optim_wrapper.constructor '
                'leaves them out; take it out, or have it pass on every parameter that requires a gradient'
            )
        return problems


def join_tuning(runner: Any, priority: Any) -> None:
    """Add the hook to a run that lists none; called by a hook of that priority.

    MMEngine goes through its list of hooks meanwhile: what is put behind the caller is still reached.
    """
    if not any(isinstance(hook, TuningHook) for hook in runner.hooks):
        runner.register_hook(TuningHook(), priority=max(get_priority(priority), get_priority(TuningHook.priority)))


def tuned_model(runner: Any) -> nn.Module:
    """Return the model as the constructors of optimizers name its parts: without DDP."""
    return getattr(runner.model, 'module', runner.model)


def tunes(runner: Any) -> bool:
    """Whether this run trains something inside a frozen backbone, or behind one."""
    is_training = isinstance(runner._train_loop, BaseLoop) and isinstance(
        runner.optim_wrapper, OptimWrapper | OptimWrapperDict
    )
    return is_training and any(frozen_backbones(tuned_model(runner)))


def group_counts(runner: Any) -> dict[str, int]:
    """Return how many parameter groups each optimizer has."""
    return {one.name: len(one.groups) for one in optimizers(runner)}


def raised_line(raised: list[Raised]) -> str:
    """Say what was raised, from where, why, and how to keep the config's rates."""
    old = sorted({tensor.old for tensor in raised})
    new = ', '.join(f'{rate:g}' for rate in sorted({tensor.new for tensor in raised}))
    lines = ', '.join(sorted({tensor.line for tensor in raised}))
    span = f'{old[0]:g}' if len(old) == 1 else f'{old[0]:g} to {old[-1]:g}'
    return (
        f'TuningHook: {len(raised)} tensors trained inside the frozen backbone '
        f"({some(tensor.name for tensor in raised)}) learn at {new}, the optimizer's own rate, instead of {span}, "
        f"which {lines} means for pre-trained weights; to keep the config's rates put dict(type='mmsls.TuningHook', "
        'own_lr=False) into custom_hooks, or name the adapters in custom_keys'
    )


def warn(problems: list[str]) -> None:
    """Warn once of all that was found."""
    if problems:
        print_log(f'TuningHook: not all that is trained learns. {". ".join(problems)}', 'current', logging.WARNING)
