"""Pruned backbones: one mixin per family, free of host imports; `mmsls.integrations` registers them."""

from mmsls.backbones.base import PrunedBackbone

__all__ = ['PrunedBackbone']
