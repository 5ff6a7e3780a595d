"""A model as one would deploy it, for whoever times it."""

from __future__ import annotations

from copy import deepcopy
from logging import WARNING

from mmengine.logging import print_log
from torch import nn

from mmsls.adapters.base import adapter_class
from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.merging import merge_blocks


def as_deployed(model: nn.Module) -> nn.Module:
    """Return a model with its adapters folded into the base, or the model itself where there is nothing to fold.

    All other tensors are the model's own, which stays as it is. Where a merge would not be exact, the model itself is
    returned, and a warning says why.
    """
    backbones = [part for part in model.modules() if isinstance(part, PrunedBackbone) and merges(part)]
    if not backbones:
        return model
    tensors = [*model.parameters(), *model.buffers()]
    merged = deepcopy(model, {id(tensor): tensor for tensor in tensors})
    try:
        for part in merged.modules():
            if isinstance(part, PrunedBackbone):
                merge_blocks(part.iter_blocks())
    except ValueError as error:
        print_log(f'timed with its adapters beside the base, not merged: {error}', 'current', WARNING)
        return model
    return merged


def merges(backbone: PrunedBackbone) -> bool:
    """Whether a backbone has adapters, and a method whose adapters merge."""
    return backbone.adapter_cfg is not None and adapter_class(backbone.adapter_cfg).mergeable
