"""Save only what a task trained."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn
from torch.utils.hooks import RemovableHandle

from mmsls import checkpoint as slim_checkpoint
from mmsls.backbones.outputs import check_readers
from mmsls.cost.complexity import count_parameters, summary_line
from mmsls.hooks.load_report import LoadReport
from mmsls.hooks.tuning_hook import join_tuning
from mmsls.hooks.whole_model import check_whole
from mmsls.registry import HOOKS

DDP_PREFIX = 'module.'


def unwrapped(runner: Any) -> nn.Module:
    """Return the runner's model without wrappers (DDP, test-time augmentation, both), as MMEngine's loader does."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


@HOOKS.register_module()
class SlimCheckpointHook(Hook):
    """Leave the frozen base out of every checkpoint, and check what is loaded.

    A slim checkpoint that lacks tensors of the model outside its backbone, such as a head's, is refused where it is
    tested or resumed; where a training starts from it, other heads are common, and a warning names them.
    """

    # After EMAHook (NORMAL): it swaps EMA's and the model's tensors key by key and needs them all.
    priority = 'LOW'

    def __init__(self) -> None:
        self._changed: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def before_run(self, runner: Any) -> None:
        """Say what is trained, or that there is nothing to leave out."""
        check_whole(runner)
        model = unwrapped(runner)
        join_tuning(runner, self.priority)
        check_readers(model)
        if any(slim_checkpoint.frozen_backbones(model)):
            print_log(f'SlimCheckpointHook: {summary_line(count_parameters(model))}', 'current')
        else:
            print_log(
                'SlimCheckpointHook: no backbone has a base_checkpoint, so checkpoints stay complete', 'current', 30
            )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Slim the checkpoint that is about to be written; say once how much of a base is not the base's any more."""
        if is_model_wrapper(runner.model):
            without_module(checkpoint['state_dict'])
        for name, count in slim_checkpoint.slim(unwrapped(runner), checkpoint).items():
            if count != self._changed.get(name, 0):
                print_log(
                    f"SlimCheckpointHook: {count} frozen tensors of model.{name} are not the base's any more and are "
                    'stored with the task',
                    'current',
                    logging.WARNING,
                )
            self._changed[name] = count

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Check what is being loaded or resumed."""
        check_whole(runner)
        model = unwrapped(runner)
        join_tuning(runner, self.priority)  # FlexibleRunner loads before it calls before_run
        slim_checkpoint.check_has_base(model, checkpoint)
        if runner._resume:
            slim_checkpoint.check_resume(model, checkpoint)
            slim_checkpoint.restore_history(checkpoint.get('message_hub', {}))
        self._forget()
        if slim_checkpoint.described(checkpoint):
            self._handles = LoadReport(refuses=runner._resume or only_evaluates(runner)).watch(model)

    def before_train(self, runner: Any) -> None:
        """Take the watch on loading off again."""
        self._forget()

    def before_val(self, runner: Any) -> None:
        """As `before_train`."""
        self._forget()

    def before_test(self, runner: Any) -> None:
        """As `before_train`."""
        self._forget()

    def _forget(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def without_module(state: MutableMapping[str, Any]) -> None:
    """Name the tensors of a state dict as the bare model does, in place.

    FlexibleRunner's DDPStrategy (mmengine 0.10) saves the wrapper's state dict, where Runner saves the model's.

    Example:
        >>> state = {'module.head.weight': 1, 'module.head.bias': 2}
        >>> without_module(state)
        >>> state
        {'head.weight': 1, 'head.bias': 2}
    """
    if all(key.startswith(DDP_PREFIX) for key in state):
        for key in list(state):
            state[key.removeprefix(DDP_PREFIX)] = state.pop(key)


def only_evaluates(runner: Any) -> bool:
    """Whether the runner tests or validates and does not train: MMEngine builds a loop when it is about to run."""
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    training, *evaluating = (isinstance(loop, BaseLoop) for loop in loops)
    return any(evaluating) and not training
