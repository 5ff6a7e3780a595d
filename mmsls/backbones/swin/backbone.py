"""Swin: the mixin for the hosts' `SwinTransformer`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmsls.adapters.base import build_adapters
from mmsls.backbones.arguments import check_flag, ignore_arguments, ignore_init_cfg, mend_arguments, stage_count
from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.base_weights import StateDict, swin_keys
from mmsls.backbones.bridge import BridgeSetting, LinearBridge
from mmsls.backbones.outputs import checked_outputs
from mmsls.backbones.swin.attention import FusedWindowAttention
from mmsls.backbones.swin.block import AdaptedSwinBlock
from mmsls.backbones.tokens import BlockTokens
from mmsls.scoring import BlockId


class PrunedSwinMixin(PrunedBackbone):
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
    alternates = True
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
        if fused_attention:
            for stage in self.stages:
                for block in stage.blocks:
                    block.attn = FusedWindowAttention(block.attn, fixed_table=base_checkpoint is not None)
        self.set_up(base_checkpoint, adapter, pruning_index, kept_depths, bridge, kept_blocks)
        read = max(self.out_indices) + 1
        self._freeze_unread(self.stages[read:], [block for block in self.kept_blocks if block[0] < read])

    def block_lists(self) -> list[nn.ModuleList]:
        """Return each stage's list of blocks, bottom first."""
        return [stage.blocks for stage in self.stages]

    def bridge_targets(self) -> list[BlockId]:
        """Return the top of every stage that some output depends on."""
        return [(stage, self.depths[stage] - 1) for stage in range(max(self.out_indices) + 1)]

    def output_tops(self) -> list[BlockId | None]:
        """Return the top of every stage that is put out."""
        return [(stage, self.depths[stage] - 1) for stage in sorted(set(self.out_indices))]

    def bridge_to(self, target: BlockId, setting: BridgeSetting = True) -> LinearBridge:
        """Return a new bridge."""
        return LinearBridge(self.base_width() * 2 ** target[0], target, setting=setting)

    def trunk(self) -> list[nn.Module]:
        """Return patch embedding, blocks and patch mergings up to the first removed block."""
        found = [self.patch_embed]
        for stage, depth in enumerate(self.depths):
            blocks, merging = self.blocks_in_place(stage), self.stages[stage].downsample
            found += blocks
            if len(blocks) < depth or merging is None:
                break
            found.append(merging)
        return found

    def read_modules(self) -> list[nn.Module]:
        """Return patch embedding, patch mergings and every stage's last kept block."""
        last = [part for stage in self.stages for part in (*stage.blocks[-1:], stage.downsample)]
        return [self.patch_embed, *(part for part in last if part is not None)]

    def base_width(self) -> int:
        """Return the width C of the first stage."""
        return self.patch_embed.embed_dims

    def adapted(self, block: Any, stage: int, cfg: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Return a block with adapters around the host's block."""
        width = block.attn.w_msa.embed_dims  # not num_features: mmpretrain counts those after the merging if asked to
        adapted = AdaptedSwinBlock(block)
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

    def record_blocks(self, callback: Callable[[BlockId, BlockTokens], None]) -> list[RemovableHandle]:
        """Call back with every block's output tokens in each forward pass, until the handles are removed."""

        def hook_of(block_id: BlockId) -> Callable[[nn.Module, tuple, Tensor], None]:
            stride = self._stride(block_id[0])

            def hook(_: nn.Module, inputs: tuple, output: Tensor) -> None:
                callback(block_id, BlockTokens(output, tuple(inputs[1]), stride, None))

            return hook

        return [block.register_forward_hook(hook_of(block_id)) for block_id, block in self.iter_blocks()]

    def downsample_tokens(self, stage: int, tokens: BlockTokens) -> BlockTokens:
        """Apply the stage's patch merging; the last stage has none."""
        merging = self.stages[stage].downsample
        if merging is None:
            return tokens
        merged, hw_shape = merging(tokens.tokens, tokens.hw_shape)
        return BlockTokens(merged, tuple(hw_shape), self._stride(stage + 1), None)

    def _stride(self, stage: int) -> int:
        """Return how many input pixels one token of a stage spans."""
        stride = self._first_stride()
        for below in self.stages[:stage]:
            merging = below.downsample.sampler.stride  # of its nn.Unfold; the hosts' PatchMerging does not keep it
            stride *= merging if isinstance(merging, int) else merging[0]
        return stride

    def _first_stride(self) -> int:
        stride = self.patch_embed.projection.stride
        return stride if isinstance(stride, int) else stride[0]
