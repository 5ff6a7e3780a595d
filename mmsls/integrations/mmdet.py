"""Registers mmsls in MMDetection: put 'mmsls.integrations.mmdet' into a config's `custom_imports`."""

from __future__ import annotations

from mmdet.models.backbones import SwinTransformer
from mmdet.registry import MODELS

import mmsls.hooks  # noqa: F401 (registers the hooks)
from mmsls.backbones.swin.backbone import PrunedSwinMixin


@MODELS.register_module()
class PrunedSwinTransformer(PrunedSwinMixin, SwinTransformer):
    __doc__ = PrunedSwinMixin.__doc__
