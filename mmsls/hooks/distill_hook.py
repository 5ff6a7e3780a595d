"""Retrain a cut model with the tuned model's features as a second target."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.lookup import find_backbone
from mmsls.hooks.distillation import LOSS, Distillation
from mmsls.hooks.slim_checkpoint_hook import unwrapped
from mmsls.hooks.teacher import build_teacher, name_of
from mmsls.registry import HOOKS
from mmsls.scoring.curve import is_real


@HOOKS.register_module()
class DistillHook(Hook):
    """Add to the losses of a cut model how far its backbone's outputs are from the tuned model's at full depth.

    `loss_distill`, in the log, is the mean squared error as a share of the variance of the tuned features, over the
    outputs that depend on a removed block: 0 where they are met, 1 where they are at their mean throughout. The tuned
    backbone runs along in every training step, without gradients. It is no part of the model: not of its parameters,
    optimizer, average or checkpoints. Validation and test are as without it.

    Args:
        teacher: Checkpoint of the model tuned at full depth, a local file. `mmsls run` fills in its own.
        weight: Factor of the loss, above 0.

    Raises:
        ValueError: If the weight is no number above 0.
    """

    def __init__(self, teacher: str | None = None, weight: float = 1.0) -> None:
        if not is_real(weight) or weight <= 0:
            raise ValueError(
                f'DistillHook: weight must be a number above 0, got {weight!r}; to distil nothing leave the hook out'
            )
        self.teacher, self.weight = teacher, float(weight)
        self.distillation: Distillation | None = None

    def before_train(self, runner: Any) -> None:
        """Build the teacher, when the model is loaded, and after EMAHook has copied it.

        Raises:
            ValueError: If the model is not cut, nothing in its backbone is trained, or the teacher is another backbone.
            FileNotFoundError: If the teacher's checkpoint is not there.
        """
        model = unwrapped(runner)
        student = find_backbone(model)
        check_student(student)
        outputs = student.cut_outputs()
        if not outputs:
            print_log(
                f'DistillHook: no output depends on what {student.foundation().told} removes, so there is nothing to '
                'distil',
                'current',
                logging.WARNING,
            )
            return
        if self.teacher is None:
            raise ValueError('DistillHook: teacher is not set; name the checkpoint that was tuned before the cut')
        teacher = build_teacher(student, name_of(student, model), runner.cfg.get('model'), self.teacher)
        self.distillation = Distillation(model, student, teacher, outputs, self.weight)
        size = sum(parameter.nbytes for parameter in teacher.parameters()) / 2**20
        print_log(
            f'DistillHook: {LOSS} (weight {self.weight:g}) compares outputs {", ".join(map(str, outputs))} of '
            f'{len(student.output_tops())} with those of {self.teacher}. It costs {size:.1f} MiB of weights and one '
            f'more forward pass of the backbone in every step: {sum(student.depths)} blocks without gradients, beside '
            f'the {sum(student.kept_depths)} that are trained',
            'current',
        )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """See that the loss was there.

        Raises:
            ValueError: If the model has its own way of making losses.
        """
        if self.distillation is not None and not self.distillation.added:
            raise ValueError(
                f'DistillHook: {type(unwrapped(runner)).__name__} makes its losses outside forward(mode="loss"), or '
                'without its backbone, so nothing can be added to them; leave the hook out'
            )

    def after_train(self, runner: Any) -> None:
        """Leave the model as it was."""
        if self.distillation is not None:
            self.distillation.close()
        self.distillation = None


def check_student(student: PrunedBackbone) -> None:
    """Refuse a backbone that nothing can be distilled into.

    Raises:
        ValueError: If it is not cut, or not trained.
    """
    if not student.is_pruned:
        raise ValueError(
            f'DistillHook: the model keeps all of its {student.depths} blocks; set pruning_index, kept_depths or '
            'kept_blocks, or leave the hook out'
        )
    if not student.unfrozen():
        raise ValueError(
            'DistillHook: nothing in the backbone is trained, so its features stay as they are; set an adapter, or '
            'leave the hook out'
        )
