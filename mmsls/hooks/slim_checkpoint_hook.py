"""Save only what a task trained."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn

from mmsls import checkpoint as slim_checkpoint
from mmsls.backbones.outputs import check_readers
from mmsls.complexity import count_parameters, summary_line
from mmsls.hooks.tuning_hook import join_tuning
from mmsls.registry import HOOKS


def unwrapped(runner: Any) -> nn.Module:
    """Return the runner's model without DDP."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class SlimCheckpointHook(Hook):
    """Leave the frozen base out of every checkpoint, and refuse to resume at other depths."""

    # After EMAHook (NORMAL): it swaps EMA's and the model's tensors key by key and needs them all.
    priority = 'LOW'

    def before_run(self, runner: Any) -> None:
        """Say what is trained, or that there is nothing to leave out."""
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
        """Slim the checkpoint that is about to be written."""
        slim_checkpoint.slim(unwrapped(runner), checkpoint)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Check what is being loaded or resumed."""
        slim_checkpoint.check_has_base(unwrapped(runner), checkpoint)
        if runner._resume:
            slim_checkpoint.check_resume(unwrapped(runner), checkpoint)
            slim_checkpoint.restore_history(checkpoint.get('message_hub', {}))
