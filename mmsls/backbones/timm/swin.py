"""timm's Swin Transformers, the first and the second, on a frozen base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmsls.adapters.base import build_adapters
from mmsls.backbones.outputs import checked_outputs
from mmsls.backbones.staged import StagedBackbone
from mmsls.backbones.timm.block import AdaptedTimmSwinBlock
from mmsls.backbones.timm.family import TimmFamily
from mmsls.backbones.timm.host import TimmSwin
from mmsls.backbones.tokens import BlockTokens


class PrunedTimmSwin(TimmFamily, StagedBackbone, TimmSwin):
    """Swin of timm on a frozen base: what `PrunedTimmBackbone` gives for the name of a Swin, with its arguments.

    `out_indices` names stages, and every output is what timm's stage gives, without a norm of its own but for
    `final_norm`. timm merges patches where a stage begins, so a stage without blocks still merges them.

    Raises:
        ValueError: If an argument is wrong, or the base or the index does not fit; the message names both values.
        FileNotFoundError: If the base or the index is not there.

    Example:
        >>> import torch
        >>> tiny = dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=4)
        >>> model = PrunedTimmSwin('swinv2_tiny_window8_256', out_indices=(0, 1), kept_depths=(2, 1), model_args=tiny)
        >>> [tuple(out.shape) for out in model(torch.zeros(1, 3, 40, 64))]
        [(1, 8, 10, 16), (1, 16, 5, 8)]
    """

    block_pattern = re.compile(r'model\.layers\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.')

    base_advice = 'the model_name of the base, and model_args as in its training'
    base_hints = {r'(missing|left over|misshapen) model\.(layers|patch_embed)': base_advice}

    def put_together(self, *settings: Any) -> None:
        """Check `out_indices` and set the backbone up."""
        self.out_indices = checked_outputs(self.out_indices, len(self.model.layers), 'stages')
        self.set_up(*settings)
        read = self.out_indices[-1] + 1
        self._freeze_unread(self.model.layers[read:], [block for block in self.kept_blocks if block[0] < read])

    def full_model(self) -> Any:
        """Return timm's model at full depth: this one, where it is whole."""
        return super().full_model() if self.is_pruned else self.model

    def block_lists(self) -> list[nn.ModuleList]:
        """Return each stage's list of blocks, bottom first."""
        return [stage.blocks for stage in self.model.layers]

    def patches(self) -> nn.Module:
        """Return the patch embedding."""
        return self.model.patch_embed

    def merging_after(self, stage: int) -> nn.Module | None:
        """Return the patch merging at the next stage's beginning."""
        return self.model.layers[stage + 1].downsample if stage + 1 < len(self.model.layers) else None

    def base_width(self) -> int:
        """Return the width C of the first stage."""
        return self.width_of(0)

    def width_of(self, stage: int) -> int:
        """Return the width of a stage's blocks."""
        return int(self.model.feature_info[stage]['num_chs'])

    def stride_of(self, stage: int) -> int:
        """Return how many input pixels one token of a stage spans."""
        return int(self.model.feature_info[stage]['reduction'])

    def adapted(self, block: nn.Module, stage: int, cfg: Mapping[str, Any]) -> nn.Module:
        """Return a block with adapters around timm's block."""
        adapted = AdaptedTimmSwinBlock(block)
        adapted.insert(build_adapters(cfg, self.width_of(stage), adapted.layers()))
        return adapted

    def tokens_of(self, stage: int, inputs: tuple[Any, ...], output: Tensor) -> BlockTokens:  # noqa: ARG002
        """Return what a block put out, a map (B, H, W, C), as tokens."""
        return self._flat(stage, output)

    def downsample_tokens(self, stage: int, tokens: BlockTokens) -> BlockTokens:
        """Apply the patch merging that follows a stage; the last stage has none."""
        merging = self.merging_after(stage)
        if merging is None:
            return tokens
        return self._flat(stage + 1, merging(tokens.tokens.unflatten(1, tokens.hw_shape)))

    def _flat(self, stage: int, grid: Tensor) -> BlockTokens:
        shape = grid.shape[1], grid.shape[2]
        return BlockTokens(grid.flatten(1, 2), shape, self.stride_of(stage), None)
