"""Plain ViT: the mixin for mmseg's and mmpretrain's `VisionTransformer`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmsls.adapters.base import build_adapters
from mmsls.backbones.arguments import check_flag, ignore_arguments, ignore_init_cfg
from mmsls.backbones.base_files import StateDict
from mmsls.backbones.bridge import BridgeSetting, LinearBridge, Passed
from mmsls.backbones.one_stage import OneStageBackbone
from mmsls.backbones.outputs import BlockOutputs
from mmsls.backbones.tokens import TokenGrid
from mmsls.backbones.vit.attention import FusedSelfAttention
from mmsls.backbones.vit.block import AdaptedViTBlock
from mmsls.backbones.vit.keys import fit_position, vit_keys
from mmsls.scoring import BlockId


class PrunedViTMixin(OneStageBackbone):
    """Vision Transformer on a frozen base, with adapters, at the depth that SLS kept.

    Takes every argument of the host's `VisionTransformer`, and:

    Args:
        base_checkpoint: Path or URL of the pre-trained backbone (OpenMMLab, timm or DeiT keys, or Google's `.npz`). It
            is loaded here and frozen whole, class token, position embedding and final norm included; only the norm of
            `out_type='avg_featmap'`, which bases lack, stays trainable. The position embedding is resized to
            `img_size`. None: the host's backbone, trainable.
        adapter: Config of an adapter, such as `dict(type='mmsls.Convpass', rank=8)`; needs a base.
        pruning_index: Path of the index file that says how many blocks are kept.
        kept_depths: The same by hand, a number or a tuple of one; not with `pruning_index`.
        fused_attention: Compute mmseg's attention with PyTorch's fused kernel (within 1e-4 of the host's, faster, and
            without its (L, L) weights in memory); False: the host's outputs, bit for bit. mmpretrain's ViT computes it
            so itself.
        bridge: Put an affine map in the place of every removed block that `out_indices` names (see `LinearBridge`);
            only where the lowest blocks are kept.
        kept_blocks: `(0, block)` of every block that is kept, wherever it stands; not with `pruning_index` or
            `kept_depths`. They are numbered anew, and keep their drop path rates.

    After pruning, entries of `out_indices` that were removed become the last kept blocks, as many as before, and the
    host's final norm follows the new last block; with `bridge` they become the bridges. One that was removed from
    between kept blocks becomes the nearest kept block below it, or the lowest.

    Raises:
        ValueError: If an argument is wrong, or the base or the index does not fit; the message names both values.
        FileNotFoundError: If the base or the index is not there.
    """

    family = 'VisionTransformer'
    # The host's own children and attributes.
    patch_embed: Any
    norm1: Any
    layers: Any
    pos_embed: Any
    img_size: Sequence[int]
    interpolate_mode: str
    out_indices: Sequence[int]
    with_cls_token: bool
    block_pattern = re.compile(r'layers\.(?P<block>\d+)\.')
    not_in_base = re.compile(r'^ln2\.')
    never_loaded = re.compile(r'^(head|head_dist|pre_logits)\.')
    base_hints = {
        r'left over patch_embed\.projection\.bias': 'patch_bias=True (in mmpretrain patch_cfg=dict(bias=True))',
        r'missing patch_embed\.projection\.bias': 'patch_bias=False (in mmpretrain patch_cfg=dict(bias=False))',
        r'missing ln1\.weight': 'final_norm=False, since the base has no final norm',
        r'left over layers\.\d+\.attn\.(qkv\.|attn\.in_proj_)bias': 'qkv_bias=True',
        r'missing layers\.\d+\.attn\.(qkv\.|attn\.in_proj_)bias': 'qkv_bias=False',
        r'left over (pre_norm|ln_pre)\.': 'pre_norm=True',
        r'missing (pre_norm|ln_pre)\.': 'pre_norm=False',
        r'left over layers\.\d+\.(attn\.gamma1|ffn\.gamma2)\.': (
            'layer_scale_init_value above 0, which mmpretrain has and mmseg has not'
        ),
    }

    def __init__(
        self,
        *args: Any,
        base_checkpoint: str | os.PathLike[str] | None = None,
        adapter: Mapping[str, Any] | None = None,
        pruning_index: str | os.PathLike[str] | None = None,
        kept_depths: int | Sequence[int] | None = None,
        fused_attention: bool = True,
        bridge: BridgeSetting = False,
        kept_blocks: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if base_checkpoint is not None:
            ignore_init_cfg(kwargs)
            # The whole base is frozen anyway, and the host's own freezing would freeze adapters too.
            ignore_arguments(kwargs, {'frozen_stages': -1, 'frozen_exclude': ['all']})
        check_flag('fused_attention', fused_attention)
        super().__init__(*args, **kwargs)
        self._host_arguments = (args, kwargs)
        self._grid = self.new_grid()
        self.patch_embed.register_forward_hook(self._grid.note)
        if fused_attention:
            self._fuse_attention()
        self.set_outputs(base_checkpoint, adapter, pruning_index, kept_depths, bridge, kept_blocks)

    def _fuse_attention(self) -> None:
        for layer in self.layers:
            if isinstance(getattr(layer.attn, 'attn', None), nn.MultiheadAttention):
                layer.attn = FusedSelfAttention(layer.attn)

    def new_grid(self) -> TokenGrid:
        """Return what is to know the token grid of every pass."""
        return TokenGrid()

    def forward(self, *args: Any, **kwargs: Any) -> BlockOutputs:
        """Run the host's forward; an output that is wanted several times comes several times."""
        return self.repeated(super().forward(*args, **kwargs))

    def bridge_to(self, target: BlockId, setting: BridgeSetting = True) -> LinearBridge:
        """Return a new bridge, which knows the class token from the others; what no output reads it leaves alone."""
        read = getattr(self, 'output_cls_token', False) or getattr(self, 'out_type', None) in ('raw', 'cls_token')
        return LinearBridge(self.base_width(), target, self._grid if self.with_cls_token else None, read, setting)

    def insert_bridges(self) -> None:
        """Put a bridge behind the kept blocks for every removed block that is an output, each on what is below it."""
        super().insert_bridges()
        if self.kept_depths[0] <= self._wanted[-1] < self.depths[0] - 1:
            self.layers.append(Passed())  # the host's final norm, which no output passes, follows the last

    def blocks(self) -> Any:
        """Return the list of blocks."""
        return self.layers

    def patches(self) -> nn.Module:
        """Return the patch embedding."""
        return self.patch_embed

    def last_norm(self) -> list[nn.Module]:
        """Return the host's final norm, where it has one."""
        return [self.norm1] if getattr(self, 'final_norm', False) else []

    def output_count(self) -> int:
        """Return how many features a forward pass gives: mmseg's `out_origin` adds the embedded patches."""
        return super().output_count() + bool(getattr(self, 'out_origin', False))

    def base_width(self) -> int:
        """Return the width C."""
        return self.pos_embed.shape[-1]

    def adapted(self, block: nn.Module, stage: int, cfg: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Return a block with adapters around the host's block."""
        adapted = AdaptedViTBlock(block, self._grid)
        adapted.insert(build_adapters(cfg, self.base_width(), adapted.layers()))
        return adapted

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to the host's keys and fit the position embedding.

        Heads are dropped, and norms and a class token that the model lacks.
        """
        own = set(nn.Module.state_dict(self))
        state = {k: v for k, v in vit_keys(state, own).items() if not self.never_loaded.search(k)}
        for idle in ('cls_token', 'ln1.weight', 'ln1.bias', 'ln2.weight', 'ln2.bias'):
            if idle not in own:
                state.pop(idle, None)
        if 'pos_embed' in state and 'pos_embed' in own:
            state['pos_embed'] = self._fit_position(state['pos_embed'])
        return state

    def _fit_position(self, value: Tensor) -> Tensor:
        stride = self.patch_side()
        grid = getattr(self, 'patch_resolution', None) or (self.img_size[0] // stride, self.img_size[1] // stride)
        extra = self.pos_embed.shape[1] - grid[0] * grid[1]
        fitted = fit_position(value, extra, tuple(grid), self.interpolate_mode)
        if fitted is not value:
            print_log(
                f'{type(self).__name__}: pos_embed resized from {tuple(value.shape)} to {tuple(fitted.shape)}',
                'current',
            )
        return fitted

    def output_norms(self) -> dict[str, nn.Module]:
        """Return mmpretrain's norm of averaged patches, where there is one: bases lack it, and have the final norm."""
        norm = self._modules.get('ln2')
        return {} if norm is None else {'ln2': norm}

    def patch_side(self) -> int:
        """Return the side of a patch in pixels."""
        stride = self.patch_embed.projection.stride
        return stride if isinstance(stride, int) else stride[0]
