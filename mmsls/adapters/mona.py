"""Mona: multi-cognitive visual adapter (Yin et al., CVPR 2025, arXiv 2408.08345)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.adapters.functional import filter_tokens, plus_linear
from mmsls.registry import ADAPTERS

KERNELS = (3, 5, 7)


@ADAPTERS.register_module()
class Mona(Adapter):
    """Depth-wise filters of three sizes in a bottleneck, on the residual stream after the attention and after the FFN.

    With `z = down(s1 * LN(x) + s2 * x)`, `z = z + mean of the 3x3, 5x5 and 7x7 filters of z`, `z = z + conv1x1(z)`, the
    stream becomes `x + scale * up(dropout(gelu(z)))`. A class token, which the paper's Swin has not, passes the filters
    as an image of 1x1.

    Args:
        embed_dims: Width C of the block (the paper's m).
        rank: Bottleneck width (the paper's n), at least 1.
        scale: Factor of what is added; 1 in the paper.
        dropout: Probability before the up projection, in [0, 1).

    Raises:
        ValueError: If `rank` is not a positive integer.
    """

    slots = ('attn_stream', 'ffn_stream')
    training_only = frozenset({'dropout'})

    def __init__(self, embed_dims: int, rank: int = 64, scale: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__(embed_dims, rank, scale)
        self.norm = nn.LayerNorm(embed_dims)
        self.norm_scale = nn.Parameter(torch.empty(()))
        self.skip_scale = nn.Parameter(torch.empty(()))
        self.down = nn.Linear(embed_dims, rank)
        self.filters = nn.ModuleList(
            nn.Conv2d(rank, rank, size, padding=size // 2, groups=rank, bias=False) for size in KERNELS
        )
        self.mix = nn.Conv2d(rank, rank, kernel_size=1, bias=False)
        self.up = nn.Linear(rank, embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Nearly the raw stream in, PyTorch's defaults inside, zero up."""
        nn.init.constant_(self.norm_scale, 1e-6)
        nn.init.ones_(self.skip_scale)
        for layer in (self.norm, self.down, *self.filters, self.mix):
            layer.reset_parameters()
        for zero in (self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return the new residual stream, (B, K + H * W, C)."""
        low = self.down(self.norm_scale * self.norm(x) + self.skip_scale * x)
        mixed = filter_tokens(self._filter, low, hw_shape)
        return plus_linear(x, self.dropout(F.gelu(mixed)), self.up, self.scale)

    def _filter(self, image: Tensor) -> Tensor:
        """Filter an image (B, r, H, W) at three scales, then mix its channels."""
        image = image + torch.stack([conv(image) for conv in self.filters]).mean(0)
        return image + self.mix(image)
