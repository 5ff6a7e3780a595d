"""Registers mmsls in MMPretrain: put 'mmsls.integrations.mmpretrain' into a config's `custom_imports`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from mmpretrain.models.backbones import (
    BEiTViT,
    DeiT3,
    SwinTransformer,
    SwinTransformerV2,
    VisionTransformer,
    ViTEVA02,
)
from mmpretrain.models.selfsup import MAEViT, MoCoV3ViT
from mmpretrain.models.utils import BEiTAttention
from mmpretrain.registry import MODELS

import mmsls.hooks  # noqa: F401 (registers the hooks)
from mmsls.backbones.base_files import StateDict
from mmsls.backbones.base_weights import swin_keys
from mmsls.backbones.swin.backbone import PrunedSwinMixin
from mmsls.backbones.swin.second import PrunedSwinV2Mixin
from mmsls.backbones.vit.attention import FusedRelativeAttention
from mmsls.backbones.vit.backbone import PrunedViTMixin
from mmsls.backbones.vit.beit import PrunedBEiTMixin
from mmsls.backbones.vit.others import PrunedDeiT3Mixin, PrunedEVA02Mixin, PrunedMAEViTMixin, PrunedMoCoV3Mixin


@MODELS.register_module()
class PrunedSwinTransformer(PrunedSwinMixin, SwinTransformer):
    __doc__ = PrunedSwinMixin.__doc__

    def base_keys(self, state: StateDict) -> StateDict:
        """Take an ImageNet base's final norm for the last stage's output norm, which it is in this host."""
        found = super().base_keys(state)
        if self._last_norm not in self.output_norms() or self.out_after_downsample:
            return found
        state = swin_keys(state)
        rename_final_norm(state, '', self._last_norm)
        return {**found, **{key: value for key, value in state.items() if key.startswith(f'{self._last_norm}.')}}

    def _load_from_state_dict(self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any) -> None:
        # mmpretrain 1.2 does this for checkpoints of its first version, but for its own class only, not for one derived
        # from it.
        rename_final_norm(state_dict, prefix, self._last_norm)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def _last_norm(self) -> str:
        return f'norm{len(self.stages) - 1}'


@MODELS.register_module()
class PrunedSwinTransformerV2(PrunedSwinV2Mixin, SwinTransformerV2):
    __doc__ = PrunedSwinV2Mixin.__doc__


@MODELS.register_module()
class PrunedVisionTransformer(PrunedViTMixin, VisionTransformer):
    __doc__ = PrunedViTMixin.__doc__


@MODELS.register_module()
class PrunedDeiT3(PrunedDeiT3Mixin, DeiT3):
    __doc__ = PrunedDeiT3Mixin.__doc__


@MODELS.register_module()
class PrunedViTEVA02(PrunedEVA02Mixin, ViTEVA02):
    __doc__ = PrunedEVA02Mixin.__doc__


@MODELS.register_module()
class PrunedMoCoV3ViT(PrunedMoCoV3Mixin, MoCoV3ViT):
    __doc__ = PrunedMoCoV3Mixin.__doc__


@MODELS.register_module()
class PrunedMAEViT(PrunedMAEViTMixin, MAEViT):
    __doc__ = PrunedMAEViTMixin.__doc__


class FusedBEiTAttention(FusedRelativeAttention, BEiTAttention):
    __doc__ = FusedRelativeAttention.__doc__


@MODELS.register_module()
class PrunedBEiTViT(PrunedBEiTMixin, BEiTViT):
    __doc__ = PrunedBEiTMixin.__doc__
    fused_attention_class = FusedBEiTAttention


def rename_final_norm(state: MutableMapping[str, Any], prefix: str, name: str) -> None:
    """Rename `norm.*` to the output norm's name, in place."""
    for leaf in ('weight', 'bias'):
        if f'{prefix}norm.{leaf}' in state:
            state.setdefault(f'{prefix}{name}.{leaf}', state.pop(f'{prefix}norm.{leaf}'))
