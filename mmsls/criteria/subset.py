"""Leaving single blocks out of a backbone, wherever they stand: SLS itself only ever cuts from the top."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone
from mmsls.scoring import BlockId


class SkippedBlock(nn.Module):
    """What is left of a block that was taken out: nothing happens to the tokens."""

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Return the tokens."""
        return x


def keep_only(backbone: PrunedBackbone, blocks: Iterable[Iterable[int]]) -> None:
    """Take every other block out of a backbone at full depth, in place; their parameters are gone.

    Args:
        backbone: The backbone; build it with the model, before any optimizer or DDP sees its parameters.
        blocks: `(stage, block)` of what stays.

    Raises:
        ValueError: If one is no block of the backbone, or none stays.
    """
    kept: set[BlockId] = {(stage, block) for stage, block in blocks}
    wrong = sorted(kept - {block_id for block_id, _ in backbone.iter_blocks()})
    if wrong or not kept:
        raise ValueError(
            f'kept_blocks: {wrong[0] if wrong else "none"} is no block of a backbone of depths {backbone.kept_depths}'
        )
    for stage, layers in enumerate(backbone.block_lists()):
        for block in range(len(layers)):
            if (stage, block) not in kept:
                layers[block] = SkippedBlock()
