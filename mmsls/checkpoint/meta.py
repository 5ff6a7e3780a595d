"""What is said about a model in the `meta` of its checkpoints, and checked when one is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from mmsls.backbones import PrunedBackbone
from mmsls.pruning_index.foundation import DESCRIPTION, Foundation

META_KEY = 'mmsls'
MERGED_KEY = 'mmsls_merged'
"""Stands in `meta` of a full checkpoint whose adapters were merged (mmsls merge)."""
META_VERSION = 1


def frozen_backbones(model: nn.Module) -> Iterator[tuple[str, PrunedBackbone]]:
    """Yield (name, backbone) for every backbone of the model that stands on a frozen base."""
    for name, module in model.named_modules():
        if isinstance(module, PrunedBackbone) and module.base_sha256 is not None:
            yield name, module


def sole_backbone(model: nn.Module, where: str) -> tuple[str, PrunedBackbone]:
    """Return a model's only frozen backbone and its name.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = dict(frozen_backbones(model))
    if len(found) != 1:
        raise ValueError(f'{where}: a task has one frozen backbone, this model has {sorted(found) or "none"}')
    return next(iter(found.items()))


def describe(model: nn.Module) -> dict[str, Any]:
    """Return what `meta` says of each frozen backbone: base, its SHA-256, adapter, depths."""
    return as_meta(*(backbone.foundation(name) for name, backbone in frozen_backbones(model)))


def as_meta(*foundations: Foundation) -> dict[str, Any]:
    """Return what `meta` says of backbones that are described one by one."""
    return {'version': META_VERSION, 'backbones': {of.name: of.as_dict(DESCRIPTION) for of in foundations}}


def described(checkpoint: Mapping[str, Any]) -> dict[str, Foundation]:
    """Return what a checkpoint's `meta` says of each frozen backbone, empty where it says nothing.

    Raises:
        ValueError: If it says something that mmsls never wrote.
    """
    meta = checkpoint.get('meta')
    ours = meta.get(META_KEY) if isinstance(meta, Mapping) else None
    if ours is None:
        return {}
    place = f'checkpoint: meta[{META_KEY!r}]'
    found = ours.get('backbones') if isinstance(ours, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise ValueError(
            f'{place} is {str(ours)[:100]!r}; it was not written by mmsls, or is damaged: save the checkpoint again'
        )
    return {name: Foundation.of(of, DESCRIPTION, f'{place}, {name}') for name, of in found.items()}


def check_has_base(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a slim checkpoint where nothing else brings its base along; MMEngine would go on with a random one.

    Where in the model the base stands is no matter here: wrappers and teachers move it, and the backbone itself checks
    what it is given.

    Raises:
        ValueError: If a backbone that the checkpoint left the base out of has none in the model, anywhere.
    """
    ours = dict(frozen_backbones(model))
    bases = {backbone.base_sha256 for backbone in ours.values()}
    for name, of in described(checkpoint).items():
        if name not in ours and of.base_sha256 not in bases:
            found = type(model.get_submodule(name)).__name__ if name in dict(model.named_modules()) else 'nothing'
            raise ValueError(
                f'load_from: this slim checkpoint leaves the base of model.{name} out ({of.base_checkpoint}), and the '
                f'model has {found} without one there: set its type, base_checkpoint and adapter as in the training '
                'config'
            )


def check_resume(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Refuse to resume a run at other depths: optimizer state and schedule belong to the blocks it had.

    Raises:
        ValueError: If a backbone's kept depths differ from the checkpoint's.
    """
    stored = described(checkpoint)
    for name, backbone in frozen_backbones(model):
        ours = backbone.foundation()
        if name in stored and stored[name].pruning() != ours.pruning():
            raise ValueError(
                f'resume: the checkpoint was saved with {stored[name].told}, the model has {ours.told}; to '
                'go on from its weights at other depths use load_from instead of resume'
            )
