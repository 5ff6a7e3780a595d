"""Registers mmsls in MMSegmentation: put 'mmsls.integrations.mmseg' into a config's `custom_imports`."""

from __future__ import annotations

from mmseg.models.backbones import SwinTransformer, VisionTransformer
from mmseg.registry import MODELS

import mmsls.hooks  # noqa: F401 (registers the hooks)
from mmsls.backbones.swin.backbone import PrunedSwinMixin
from mmsls.backbones.vit.backbone import PrunedViTMixin


@MODELS.register_module()
class PrunedSwinTransformer(PrunedSwinMixin, SwinTransformer):
    __doc__ = PrunedSwinMixin.__doc__


@MODELS.register_module()
class PrunedVisionTransformer(PrunedViTMixin, VisionTransformer):
    __doc__ = PrunedViTMixin.__doc__
