"""Finding the backbone in a model."""

from __future__ import annotations

from torch import nn

from mmsls.backbones.base import PrunedBackbone


def find_backbone(model: nn.Module) -> PrunedBackbone:
    """Return the one pruned backbone of a model.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = [module for module in model.modules() if isinstance(module, PrunedBackbone)]
    if len(found) != 1:
        raise ValueError(
            f'model: exactly one mmsls backbone is needed, found {len(found)} in {type(model).__name__}; '
            "set model.backbone.type='PrunedSwinTransformer' and import mmsls.integrations"
        )
    return found[0]
