"""A backbone whose tokens are the mean colour of their pixels: what a sampler returns can be read off the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsls.features import BlockTokens


class ColourBlock(nn.Module):
    """A block that passes its tokens on; `gain` makes the graph and the blocks differ."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, tokens: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return tokens * self.gain


class ColourBackbone(nn.Module):
    """Stages of colour blocks at strides 4, 8, 16, ...; a stage ends with the mean colours, its first blocks halve."""

    def __init__(self, depths: tuple[int, ...] = (2, 1, 1)) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleList(ColourBlock(0.5 if index < depth - 1 else 2.0 ** (depth - 1)) for index in range(depth))
            for depth in depths
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outs = []
        for stage, blocks in enumerate(self.stages):
            grid = F.avg_pool2d(image, 4 * 2**stage, ceil_mode=True)
            tokens = grid.flatten(2).transpose(1, 2)
            for block in blocks:
                tokens = block(tokens, tuple(grid.shape[2:]))
            outs.append(tokens.transpose(1, 2).reshape(grid.shape))
        return tuple(outs)

    def record_blocks(self, callback) -> list:
        def hook_of(stage, index):
            def hook(module, args, output):
                callback((stage, index), BlockTokens(output, args[1], 4 * 2**stage))

            return hook

        return [
            block.register_forward_hook(hook_of(stage, index))
            for stage, blocks in enumerate(self.stages)
            for index, block in enumerate(blocks)
        ]


@pytest.fixture
def colour_backbone() -> type[ColourBackbone]:
    return ColourBackbone
