"""Pruned backbones: one mixin per family, free of host imports; `mmsls.integrations` registers them."""

from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.swin.backbone import PrunedSwinMixin
from mmsls.backbones.vit.backbone import PrunedViTMixin

__all__ = ['PrunedBackbone', 'PrunedSwinMixin', 'PrunedViTMixin']
