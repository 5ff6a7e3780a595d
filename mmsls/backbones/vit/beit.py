"""BEiT of mmsegmentation and mmpretrain, and mmsegmentation's MAE, which is built on it."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

from torch import Tensor, nn

from mmsls.backbones.base_files import StateDict
from mmsls.backbones.base_weights import POSITION_TABLE
from mmsls.backbones.tokens import FixedGrid, TokenGrid
from mmsls.backbones.vit.block import AdaptedViTBlock
from mmsls.backbones.vit.others import PrunedRelativeMixin

SHARED_TABLE = f'rel_pos_bias.{POSITION_TABLE}'
"""Where a base keeps one table for all blocks, as BEiT's pre-training does."""
EXTRA_ROWS = 3
"""Rows of a table for the class token: to it, from it, and its own."""


class AdaptedBEiTBlock(AdaptedViTBlock):
    """BEiT's block: `ln1, attn, ln2, ffn`, each branch scaled by `gamma_1` or `gamma_2` where there is layer scale.

    Its q and v may have biases of their own (`q_bias`, `v_bias`), which no adapter of layers changes.
    """

    # The host's own children.
    drop_path: Any

    def __init__(self, block: Any, grid: TokenGrid) -> None:
        super().__init__(block, grid)
        for name, parameter in block._parameters.items():
            self.register_parameter(name, parameter)  # the layer scale

    def forward(self, x: Tensor, rel_pos_bias: Tensor | None = None, **given: Any) -> Tensor:  # type: ignore[override]
        """Run the block on (B, 1 + H * W, C) tokens; mmpretrain hands a position bias along that all blocks share."""
        return super().forward(x, **(given if rel_pos_bias is None else {**given, 'rel_pos_bias': rel_pos_bias}))

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:  # noqa: ARG002
        """Return `identity + branch(h)`, layer scale and drop path included."""
        out = self.attn(h, **given) if branch == 'attn' else self.ffn(h)
        gamma = getattr(self, 'gamma_1' if branch == 'attn' else 'gamma_2', None)
        return identity + self.drop_path(out if gamma is None else gamma * out)


class PrunedBEiTMixin(PrunedRelativeMixin):
    """The host's BEiT; takes what `PrunedViTMixin` takes.

    Bases are in the host's keys, Microsoft's or timm's. A table of relative positions that all blocks share in the base
    is handed to each block where the model has one in each, and tables of another image size are resized as
    Microsoft's code does it (timm's `resize_rel_pos_bias_table`). Images have the size `img_size`, to whole patches:
    the tables are made for one size.
    """

    family = 'BEiT'
    block_class = AdaptedBEiTBlock
    fused_attention_class: ClassVar[type[nn.Module]]
    """The host's attention with `FusedRelativeAttention` in front."""
    embed_dims: int
    patch_shape: tuple[int, int]
    with_cls_token = True  # mmseg keeps no such flag
    interpolate_mode = 'bicubic'
    not_in_base = re.compile(r'^ln2\.|\.relative_position_index$')
    never_loaded = re.compile(
        r'^(head|head_dist|pre_logits|lm_head)\.|^mask_token$|^decoder_|\.relative_position_index$'
    )
    base_hints = {
        r'left over pos_embed': 'use_abs_pos_emb=True (mmpretrain), or PrunedMAE (mmseg)',
        r'missing pos_embed': 'use_abs_pos_emb=False (mmpretrain), or PrunedBEiT (mmseg)',
        r'left over layers\.\d+\.attn\.qkv\.bias': 'bias=True (mmpretrain), or PrunedMAE (mmseg)',
        r'missing layers\.\d+\.attn\.qkv\.bias': "bias='qv_bias' (mmpretrain), or PrunedBEiT (mmseg)",
        rf'left over (rel_pos_bias|layers\.\d+\.attn)\.{POSITION_TABLE}': 'use_rel_pos_bias=True',
        rf'missing rel_pos_bias\.{POSITION_TABLE}': 'use_shared_rel_pos_bias=False, use_rel_pos_bias=True',
        rf'missing layers\.\d+\.attn\.{POSITION_TABLE}': 'use_rel_pos_bias=False',
        r'left over layers\.\d+\.gamma_': 'layer_scale_init_value above 0',
        r'missing layers\.\d+\.gamma_': 'layer_scale_init_value=0.0, since the base has no layer scale',
        r'left over ln1\.weight': 'final_norm=True',
        r'missing ln1\.weight': 'final_norm=False, since the base has no final norm',
    }

    def _fuse_attention(self) -> None:
        for layer in self.layers:
            layer.attn.__class__ = self.fused_attention_class

    def window(self) -> tuple[int, int]:
        """Return the token grid (H, W) of images of the size `img_size`."""
        height, width = getattr(self, 'patch_resolution', None) or self.patch_shape
        return height, width

    def new_grid(self) -> TokenGrid:
        """Return what is to know the token grid of every pass, which is one only where there are position tables."""
        tables = any(name.endswith(POSITION_TABLE) for name, _ in self.named_parameters())
        return FixedGrid(self.window(), self.patch_side()) if tables else TokenGrid()

    def base_width(self) -> int:
        """Return the width C."""
        return self.embed_dims

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to the host's keys; position tables are resized, and one that is shared is handed to all blocks."""
        state, own = super().base_keys(state), set(nn.Module.state_dict(self))
        if SHARED_TABLE in state and SHARED_TABLE not in own and any(key.endswith(POSITION_TABLE) for key in own):
            table = state.pop(SHARED_TABLE)
            state |= {f'layers.{block}.attn.{POSITION_TABLE}': table.clone() for block in range(self.depths[0])}
        return {
            key: fit_table(value, self.window()) if key.endswith(POSITION_TABLE) else value
            for key, value in state.items()
        }


class PrunedMAEMixin(PrunedBEiTMixin):
    """mmseg's MAE; takes what `PrunedViTMixin` takes.

    What MAE's bases lack, tables of relative positions and layer scale, stays as the host starts it: zeros, and
    `init_values`, which is 1.0 in the host's own configs.
    """

    family = 'MAE'
    init_values: float
    not_in_base = re.compile(rf'\.(relative_position_index|{POSITION_TABLE}|gamma_[12])$')

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to the host's keys.

        Raises:
            ValueError: If the base has no layer scale and `init_values` would scale its branches.
        """
        state = super().base_keys(state)
        if self.init_values != 1.0 and not any('.gamma_' in key for key in state):
            raise ValueError(
                f'init_values is {self.init_values}, and the base has no layer scale, so that every branch of it would '
                'be scaled: set init_values=1.0'
            )
        return state


def fit_table(value: Tensor, window: tuple[int, int]) -> Tensor:
    """Resize a table of relative positions to another token grid.

    Args:
        value: ((2 s - 1)^2 + 3, heads) of a square grid of s x s patches; the last three rows are the class token's.
        window: The model's grid (H, W).

    Returns:
        ((2 H - 1) (2 W - 1) + 3, heads); `value` itself where that is its shape, or where it is of no square grid.
    """
    rows = (2 * window[0] - 1) * (2 * window[1] - 1) + EXTRA_ROWS
    positions = value.shape[0] - EXTRA_ROWS
    if value.dim() != 2 or value.shape[0] == rows or positions < 1 or math.isqrt(positions) ** 2 != positions:
        return value
    # Here, since an older timm, which may lack it, must not keep the toolbox's other backbones from being imported.
    from timm.layers import resize_rel_pos_bias_table

    return resize_rel_pos_bias_table(value, window, (rows, value.shape[1]))
