"""Registers mmsls in MMSegmentation: put 'mmsls.integrations.mmseg' into a config's `custom_imports`."""

from __future__ import annotations

from mmseg.models.backbones import SwinTransformer
from mmseg.registry import MODELS

import mmsls.hooks  # noqa: F401 (registers the hooks)
from mmsls.backbones.swin import PrunedSwinMixin


@MODELS.register_module()
class PrunedSwinTransformer(PrunedSwinMixin, SwinTransformer):
    __doc__ = PrunedSwinMixin.__doc__
