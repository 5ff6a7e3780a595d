"""The tuned backbone at full depth beside a cut one: built by the run's config, loaded, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.arguments import at_full_depth
from mmsls.backbones.tensor_files import check_tensors, read_torch, reason_of
from mmsls.files.paths import expand_home


def build_teacher(student: PrunedBackbone, name: str, model: Any, checkpoint: str) -> PrunedBackbone:
    """Return the backbone at full depth that a cut one came from, in eval mode, without gradients, on its device.

    Its memory is its own, frozen tensors included: who thaws one of the student's does not move the teacher.

    Args:
        student: The cut backbone.
        name: Its dotted name in the model.
        model: Settings of the model, which hold the backbone's.
        checkpoint: The model tuned at full depth, a local file; slim or not.

    Raises:
        ValueError: If the config has no settings of the backbone, or the checkpoint is none or of another backbone: of
            another base, adapter or depth, or itself cut.
        FileNotFoundError: If the checkpoint is not there.
    """
    tensors = read_backbone(checkpoint, name)
    arguments = at_full_depth(settings_at(model, name))
    teacher = type(student)(**{key: value for key, value in arguments.items() if key not in ('type', '_scope_')})
    try:
        teacher.load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:  # the backbone's own, which name a field; PyTorch's, of keys and shapes
        raise ValueError(
            f'teacher: {checkpoint!r} does not hold this backbone at full depth; name the checkpoint that was tuned '
            f'before the cut: {" ".join(str(error).split())}'
        ) from error
    return teacher.eval().requires_grad_(False).to(next(student.parameters()))


def settings_at(model: Any, name: str) -> Mapping[str, Any]:
    """Return the settings of a part of a model, as hosts nest them: by the names of the parts.

    Raises:
        ValueError: If the config holds none there.

    Example:
        >>> settings_at({'type': 'Twin', 'detector': {'backbone': {'type': 'Swin'}}}, 'detector.backbone')
        {'type': 'Swin'}
    """
    found = model
    for part in name.split('.'):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise ValueError(
            f'model.{name}: the config has no settings of the backbone there, by which the teacher would be built; '
            'give the runner a config of the model, not a built one'
        )
    return found


def read_backbone(checkpoint: str, name: str) -> dict[str, Tensor]:
    """Read a backbone's tensors from a checkpoint of its model, without running any code that it may carry.

    Args:
        checkpoint: A local file.
        name: Dotted name of the backbone in the model.

    Raises:
        ValueError: If the file is no checkpoint, or holds no such backbone.
        FileNotFoundError: If it is not there.
    """
    path = teacher_file(checkpoint)
    try:
        content = read_torch(path, stand_ins=True)
        state = content.get('state_dict', content)
        tensors = {key.removeprefix(f'{name}.'): state[key] for key in state if key.startswith(f'{name}.')}
        check_tensors(tensors)
    except Exception as error:  # any bytes may stand in the file, and the unpickler fails on them in as many ways
        raise ValueError(f'teacher: {path!r} is no checkpoint of tensors ({reason_of(error)})') from error
    if not tensors:
        raise ValueError(f'teacher: {path!r} holds nothing of model.{name}; name the checkpoint of a whole model')
    return tensors


def teacher_file(checkpoint: str) -> str:
    """Return a teacher's local file, with the home folder in place of `~`.

    Raises:
        FileNotFoundError: If it is not there.
    """
    path = expand_home(str(checkpoint))
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'teacher: no file at {path!r}; name the checkpoint that was tuned before the cut (mmsls run, which tunes '
            'first, fills in its own where none is named)'
        )
    return path


def name_of(part: nn.Module, model: nn.Module) -> str:
    """Return the dotted name of a part of a model."""
    return next(name for name, module in model.named_modules() if module is part)
