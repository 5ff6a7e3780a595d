"""Swin: the mixin for the hosts' `SwinTransformer`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmsls.adapters.base import build_adapters
from mmsls.backbones.arguments import check_flag, ignore_arguments, ignore_init_cfg, mend_arguments, stage_count
from mmsls.backbones.base_weights import StateDict, swin_keys
from mmsls.backbones.bridge import BridgeSetting
from mmsls.backbones.outputs import checked_outputs
from mmsls.backbones.staged import StagedBackbone
from mmsls.backbones.swin.attention import FusedWindowAttention
from mmsls.backbones.swin.block import AdaptedSwinBlock
from mmsls.backbones.swin.merging import speed_up
from mmsls.backbones.tokens import BlockTokens


class PrunedSwinMixin(StagedBackbone):
    """Swin Transformer on a frozen base, with adapters, at the depths that SLS kept.

    Takes every argument of the host's `SwinTransformer`, and:

    Args:
        base_checkpoint: Path or URL of the pre-trained backbone (OpenMMLab, Microsoft or timm keys). It is loaded here
            and frozen; the output norms `norm{i}` stay trainable. None: the host's backbone, trainable.
        adapter: Config of an adapter, such as `dict(type='mmsls.Convpass', rank=8)`; needs a base.
        pruning_index: Path of the index file that says how many blocks each stage keeps.
        kept_depths: The same by hand, one number per stage, 0 allowed; not with `pruning_index`.
        fused_attention: Compute window attention with PyTorch's fused kernel (within 1e-4 of the host's).
        bridge: Put an affine map in the place of the removed blocks of every stage (see `LinearBridge`); only where the
            lowest blocks are kept.
        kept_blocks: `(stage, block)` of every block that is kept, wherever it stands; not with `pruning_index` or
            `kept_depths`. They are numbered anew in every stage, and keep their drop path rates and window shifts.

    Raises:
        ValueError: If an argument is wrong, or the base or the index does not fit; the message names both values.
        FileNotFoundError: If the base or the index is not there.
    """

    family = 'SwinTransformer'
    block_class: type[AdaptedSwinBlock] = AdaptedSwinBlock
    # The host's own children.
    patch_embed: Any
    stages: Any
    out_indices: Sequence[int]
    block_pattern = re.compile(r'stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.')
    not_in_base = re.compile(r'^norm\d+\.|\.relative_position_index$')
    never_loaded = re.compile(r'^head\.|^norm\.|\.attn_mask$|' + not_in_base.pattern)

    def __init__(
        self,
        *args: Any,
        base_checkpoint: str | os.PathLike[str] | None = None,
        adapter: Mapping[str, Any] | None = None,
        pruning_index: str | os.PathLike[str] | None = None,
        kept_depths: Sequence[int] | None = None,
        fused_attention: bool = True,
        bridge: BridgeSetting = False,
        kept_blocks: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if base_checkpoint is not None:
            ignore_init_cfg(kwargs)
            # The whole base is frozen anyway, and the host's own freezing would freeze adapters and output norms too.
            ignore_arguments(kwargs, {'frozen_stages': -1})
        check_flag('fused_attention', fused_attention)
        mend_arguments(kwargs)
        if 'out_indices' in kwargs:
            checked_outputs(kwargs['out_indices'], stage_count(kwargs), 'stages')
        super().__init__(*args, **kwargs)
        self._host_arguments = (args, kwargs)
        self.prepare(fused_attention, base_checkpoint is not None)
        self.set_up(base_checkpoint, adapter, pruning_index, kept_depths, bridge, kept_blocks)
        read = max(self.out_indices) + 1
        self._freeze_unread(self.stages[read:], [block for block in self.kept_blocks if block[0] < read])

    def prepare(self, fused_attention: bool, frozen: bool) -> None:
        """Change the host's parts where ours differ, before anything is loaded."""
        if fused_attention:
            for stage in self.stages:
                for block in stage.blocks:
                    block.attn = FusedWindowAttention(block.attn, fixed_table=frozen)
        for stage in range(len(self.stages)):
            merging = self.merging_after(stage)
            if merging is not None:
                speed_up(merging)

    def block_lists(self) -> list[nn.ModuleList]:
        """Return each stage's list of blocks, bottom first."""
        return [stage.blocks for stage in self.stages]

    def patches(self) -> nn.Module:
        """Return the patch embedding."""
        return self.patch_embed

    def merging_after(self, stage: int) -> nn.Module | None:
        """Return the patch merging at a stage's end; the last stage has none."""
        return self.stages[stage].downsample

    def base_width(self) -> int:
        """Return the width C of the first stage."""
        return self.patch_embed.embed_dims

    def adapted(self, block: Any, stage: int, cfg: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Return a block with adapters around the host's block."""
        width = block.attn.w_msa.embed_dims  # not num_features: mmpretrain counts those after the merging if asked to
        adapted = self.block_class(block)
        adapted.insert(build_adapters(cfg, width, adapted.layers()))
        return adapted

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to the hosts' keys.

        Head, final norm, masks and index tables are never loaded, output norms only if all are there.
        """
        state = swin_keys(state)
        norms = tuple(f'{name}.' for name in self.output_norms())
        kept = norms if all(f'{norm}weight' in state for norm in norms) and len(norms) > 1 else ()
        return {key: value for key, value in state.items() if key.startswith(kept) or not self.never_loaded.search(key)}

    def output_norms(self) -> dict[str, nn.Module]:
        """Return `norm{i}` of every output."""
        return {f'norm{i}': getattr(self, f'norm{i}') for i in self.out_indices}

    def tokens_of(self, stage: int, inputs: tuple[Any, ...], output: Tensor) -> BlockTokens:
        """Return what a block of a stage put out; its grid is the second of what it is called with."""
        return BlockTokens(output, tuple(inputs[1]), self.stride_of(stage), None)

    def downsample_tokens(self, stage: int, tokens: BlockTokens) -> BlockTokens:
        """Apply the stage's patch merging; the last stage has none."""
        merging = self.merging_after(stage)
        if merging is None:
            return tokens
        merged, hw_shape = merging(tokens.tokens, tokens.hw_shape)
        return BlockTokens(merged, tuple(hw_shape), self.stride_of(stage + 1), None)

    def stride_of(self, stage: int) -> int:
        """Return how many input pixels one token of a stage spans."""
        stride = self._first_stride()
        for below in range(stage):
            sampler: Any = self.merging_after(below)
            merging = sampler.sampler.stride  # of its nn.Unfold; the hosts' PatchMerging does not keep it
            stride *= merging if isinstance(merging, int) else merging[0]
        return stride

    def _first_stride(self) -> int:
        stride = self.patch_embed.projection.stride
        return stride if isinstance(stride, int) else stride[0]
