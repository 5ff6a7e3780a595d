"""Registers mmsls in MMSegmentation: put 'mmsls.integrations.mmseg' into a config's `custom_imports`."""

from __future__ import annotations

from mmseg.models.backbones import MAE, BEiT, SwinTransformer, VisionTransformer
from mmseg.models.backbones.beit import BEiTAttention
from mmseg.models.backbones.mae import MAEAttention
from mmseg.registry import MODELS

import mmsls.hooks  # noqa: F401 (registers the hooks)
from mmsls.backbones.swin.backbone import PrunedSwinMixin
from mmsls.backbones.vit.attention import FusedRelativeAttention
from mmsls.backbones.vit.backbone import PrunedViTMixin
from mmsls.backbones.vit.beit import PrunedBEiTMixin, PrunedMAEMixin


@MODELS.register_module()
class PrunedSwinTransformer(PrunedSwinMixin, SwinTransformer):
    __doc__ = PrunedSwinMixin.__doc__


@MODELS.register_module()
class PrunedVisionTransformer(PrunedViTMixin, VisionTransformer):
    __doc__ = PrunedViTMixin.__doc__


class FusedBEiTAttention(FusedRelativeAttention, BEiTAttention):
    __doc__ = FusedRelativeAttention.__doc__


class FusedMAEAttention(FusedRelativeAttention, MAEAttention):
    __doc__ = FusedRelativeAttention.__doc__


@MODELS.register_module()
class PrunedBEiT(PrunedBEiTMixin, BEiT):
    __doc__ = PrunedBEiTMixin.__doc__
    fused_attention_class = FusedBEiTAttention


@MODELS.register_module()
class PrunedMAE(PrunedMAEMixin, MAE):
    __doc__ = PrunedMAEMixin.__doc__
    fused_attention_class = FusedMAEAttention
