"""AdaptFormer: a bottleneck beside the FFN (Chen et al., NeurIPS 2022, arXiv 2205.13535)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.adapters.functional import plus_linear
from mmsls.registry import ADAPTERS


@ADAPTERS.register_module()
class AdaptFormer(Adapter):
    """`s * up(dropout(relu(down(h))))` beside the FFN, whose normed input `h` it shares.

    Args:
        embed_dims: Width C of the block.
        rank: Bottleneck width, at least 1.
        scale: Factor s of the output.
        dropout: Probability before the up projection, in [0, 1).

    Raises:
        ValueError: If `rank` is not a positive integer.
    """

    slots = ('ffn_parallel',)
    training_only = frozenset({'dropout'})

    def __init__(self, embed_dims: int, rank: int = 64, scale: float = 0.1, dropout: float = 0.1) -> None:
        super().__init__(embed_dims, rank, scale)
        self.down = nn.Linear(embed_dims, rank)
        self.up = nn.Linear(rank, embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming down, zero up and biases."""
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return what is added to the branch, (B, L, C)."""
        return self.scale * self.up(self._hidden(x))

    def _add_to(self, stream: Tensor, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return plus_linear(stream, self._hidden(x), self.up, self.scale)

    def _hidden(self, x: Tensor) -> Tensor:
        """Return what the up projection takes, (B, L, r)."""
        return self.dropout(F.relu(self.down(x)))
