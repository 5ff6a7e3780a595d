"""mmpretrain's Swin v2: norms behind the branches, positions by an MLP, patch mergings where a stage begins."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from mmsls.backbones.base_weights import SWIN_RENAMES, StateDict, unfold_order
from mmsls.backbones.swin.backbone import PrunedSwinMixin
from mmsls.backbones.swin.block import AdaptedSwinBlock

TABLES = ('relative_position_index', 'relative_coords_table')
"""What the host computes from the window's side."""


class AdaptedSwinV2Block(AdaptedSwinBlock):
    """Swin v2 block of mmpretrain: `attn, norm1, ffn, norm2`, and `norm3` behind every sixth of the largest."""

    norm3: Any

    def norm(self, branch: str) -> Any:  # noqa: ARG002
        """Return a norm without parameters: those of the branches come behind them."""
        return nn.Identity()

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:  # noqa: ARG002
        """Return `identity + norm(branch(h))`, drop path included."""
        return identity + (self.norm1(self.attn(h, hw_shape)) if branch == 'attn' else self.norm2(self.ffn(h)))

    def _forward(self, x: Tensor, hw_shape: tuple[int, int], **given: Any) -> Tensor:
        x = super()._forward(x, hw_shape, **given)
        return self.norm3(x) if hasattr(self, 'norm3') else x


class PrunedSwinV2Mixin(PrunedSwinMixin):
    """Swin Transformer v2 of mmpretrain on a frozen base; takes every argument of the host's and of `PrunedSwinMixin`.

    Bases have OpenMMLab's, Microsoft's or timm's keys. RepAdapter trains and is not merged: no norm before a branch
    could take its shift. Attention is the host's; `fused_attention` is there for configs that name it.
    """

    family = 'SwinTransformerV2'
    block_class = AdaptedSwinV2Block
    computed = re.compile(rf'\.({"|".join(TABLES)}|attn_mask)$')
    not_in_base = re.compile(r'^norm\d+\.')
    never_loaded = re.compile(rf'^head\.|{computed.pattern}|{not_in_base.pattern}')

    def prepare(self, fused_attention: bool, frozen: bool) -> None:  # noqa: ARG002
        """Leave tables out of the state dict: the host takes them out of every checkpoint, and then misses them."""
        for module in list(self.modules()):
            for name in set(TABLES) & module._buffers.keys():
                module.register_buffer(name, module._buffers[name], persistent=False)

    def merging_after(self, stage: int) -> nn.Module | None:
        """Return the patch merging at the next stage's beginning."""
        return self.stages[stage + 1].downsample if stage + 1 < len(self.stages) else None

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to the host's keys; a base's final norm is the last stage's output norm."""
        last = f'norm{len(self.stages) - 1}.'
        state = {re.sub(r'^norm\.', last, key): value for key, value in swin_v2_keys(state).items()}
        norms = tuple(f'{name}.' for name in self.output_norms())
        whole = all(f'{norm}weight' in state for norm in norms)
        kept = norms if whole else tuple(norm for norm in norms if norm == last)
        return {key: value for key, value in state.items() if key.startswith(kept) or not self.never_loaded.search(key)}


def swin_v2_keys(state: StateDict) -> StateDict:
    """Translate a Swin v2 base to mmpretrain's key style; OpenMMLab's keys stay.

    mmpretrain and timm number a patch merging by the stage that it begins, Microsoft by the stage before. Of a merging
    only the linear layer meets the four neighbours; its norm comes behind it.
    """
    if not any(key.startswith('layers.') for key in state):
        return dict(state)
    shift = int(any(key.startswith('layers.0.downsample.') for key in state))
    out = {}
    for key, value in state.items():
        name = re.sub(r'^layers\.(\d+)\.downsample\.', lambda m: f'layers.{int(m[1]) + shift}.downsample.', key)
        for pattern, replacement in SWIN_RENAMES:
            name = re.sub(pattern, replacement, name)
        out[name] = unfold_order(value) if name.endswith('.downsample.reduction.weight') else value
    return out
