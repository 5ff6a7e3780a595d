"""Backbones of several stages with patch mergings between them: Swin, of the toolboxes and of timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.bridge import BridgeSetting, LinearBridge
from mmsls.backbones.tokens import BlockTokens
from mmsls.scoring import BlockId


class StagedBackbone(PrunedBackbone):
    """A backbone whose `out_indices` name stages, each half as fine as the one below it and twice as wide.

    A stage that lost all of its blocks still merges patches and is put out, so that necks and heads fit.
    """

    alternates = True

    # What a host's mixin provides.

    def patches(self) -> nn.Module:
        """Return the patch embedding."""
        raise NotImplementedError

    def merging_after(self, stage: int) -> nn.Module | None:
        """Return the patch merging that a stage's output passes before the next; None behind the last one."""
        raise NotImplementedError

    def stride_of(self, stage: int) -> int:
        """Return how many input pixels one token of a stage spans."""
        raise NotImplementedError

    def tokens_of(self, stage: int, inputs: tuple[Any, ...], output: Tensor) -> BlockTokens:
        """Return what a block of a stage put out, given what it was called with."""
        raise NotImplementedError

    # What follows from it.

    def width_of(self, stage: int) -> int:
        """Return the width of a stage's blocks."""
        return self.base_width() * 2**stage

    def bridge_targets(self) -> list[BlockId]:
        """Return the top of every stage that some output depends on."""
        return [(stage, self.depths[stage] - 1) for stage in range(max(self.out_indices) + 1)]

    def output_tops(self) -> list[BlockId | None]:
        """Return the top of every stage that is put out."""
        return [(stage, self.depths[stage] - 1) for stage in sorted(set(self.out_indices))]

    def bridge_to(self, target: BlockId, setting: BridgeSetting = True) -> LinearBridge:
        """Return a new bridge."""
        return LinearBridge(self.width_of(target[0]), target, setting=setting)

    def trunk(self) -> list[nn.Module]:
        """Return patch embedding, blocks and patch mergings up to the first removed block."""
        found = [self.patches()]
        for stage, depth in enumerate(self.depths):
            blocks, merging = self.blocks_in_place(stage), self.merging_after(stage)
            found += blocks
            if len(blocks) < depth or merging is None:
                break
            found.append(merging)
        return found

    def read_modules(self) -> list[nn.Module]:
        """Return patch embedding, patch mergings and every stage's last kept block."""
        lists = enumerate(self.block_lists())
        last = [part for stage, blocks in lists for part in (*blocks[-1:], self.merging_after(stage))]
        return [self.patches(), *(part for part in last if part is not None)]

    def record_blocks(self, callback: Callable[[BlockId, BlockTokens], None]) -> list[RemovableHandle]:
        """Call back with every block's output tokens in each forward pass, until the handles are removed."""

        def hook_of(block_id: BlockId) -> Callable[[nn.Module, tuple, Tensor], None]:
            def hook(_: nn.Module, inputs: tuple, output: Tensor) -> None:
                callback(block_id, self.tokens_of(block_id[0], inputs, output))

            return hook

        return [block.register_forward_hook(hook_of(block_id)) for block_id, block in self.iter_blocks()]
