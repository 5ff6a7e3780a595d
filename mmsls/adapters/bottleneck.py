"""The bottleneck adapter (Houlsby et al., ICML 2019, arXiv 1902.00751)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.adapters.functional import plus_linear
from mmsls.registry import ADAPTERS


@ADAPTERS.register_module()
class Bottleneck(Adapter):
    """`y + s * up(gelu(down(y)))` on the output of the attention and of the FFN, before their residual sums.

    Args:
        embed_dims: Width C of the block.
        rank: Bottleneck width (the paper's m), at least 1.
        scale: Factor s of what is added.

    Raises:
        ValueError: If `rank` is not a positive integer.
    """

    slots = ('attn_output', 'ffn_output')

    def __init__(self, embed_dims: int, rank: int = 64, scale: float = 1.0) -> None:
        super().__init__(embed_dims, rank, scale)
        self.down = nn.Linear(embed_dims, rank)
        self.up = nn.Linear(rank, embed_dims)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small normal down as published; up starts at zero, not near it, so that the block is exactly the base's."""
        nn.init.trunc_normal_(self.down.weight, std=0.01, a=-0.02, b=0.02)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return the new output of the branch, (B, L, C)."""
        return plus_linear(x, F.gelu(self.down(x)), self.up, self.scale)
