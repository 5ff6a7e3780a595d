"""Convpass: convolutional bypasses (Jie & Deng, arXiv 2207.07039)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.adapters.functional import filter_tokens, plus_linear, quick_gelu
from mmsls.registry import ADAPTERS


@ADAPTERS.register_module()
class Convpass(Adapter):
    """Bottleneck with a 3x3 convolution over the token grid, beside the attention and beside the FFN.

    `s * up(dropout(gelu(conv(gelu(down(h))))))` is added to each branch. The class token, where there is one, passes
    the convolution as an image of 1x1, as in the paper.

    Args:
        embed_dims: Width C of the block.
        rank: Bottleneck width (the paper's h), at least 1.
        scale: Factor s of the output.
        dropout: Probability before the up projection, in [0, 1).
        xavier_init: Initialise the convolution by Xavier; by default it starts as the identity.

    Raises:
        ValueError: If `rank` is not a positive integer.
    """

    slots = ('attn_parallel', 'ffn_parallel')
    training_only = frozenset({'dropout', 'xavier_init'})

    def __init__(
        self, embed_dims: int, rank: int = 8, scale: float = 1.0, dropout: float = 0.1, xavier_init: bool = False
    ) -> None:
        super().__init__(embed_dims, rank, scale)
        self.xavier_init = xavier_init
        self.down = nn.Linear(embed_dims, rank)
        self.conv = nn.Conv2d(rank, rank, kernel_size=3, padding=1)
        self.up = nn.Linear(rank, embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier down, identity (or Xavier) convolution, zero up."""
        nn.init.xavier_uniform_(self.down.weight)
        if self.xavier_init:
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.up.weight)
        for name, parameter in self.named_parameters():
            if name.endswith('bias'):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return what is added to the branch, (B, K + H * W, C)."""
        return self.scale * self.up(self._hidden(x, hw_shape))

    def _add_to(self, stream: Tensor, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return plus_linear(stream, self._hidden(x, hw_shape), self.up, self.scale)

    def _hidden(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return what the up projection takes, (B, K + H * W, r)."""
        mixed = filter_tokens(self.conv, quick_gelu(self.down(x)), hw_shape, self._conv_alone)
        return self.dropout(quick_gelu(mixed))

    def _conv_alone(self, extra: Tensor) -> Tensor:
        """Return what the convolution makes of images of 1x1, where only its middle meets anything.

        As rows: of a slice in three dimensions PyTorch takes one product or another by `requires_grad`.
        """
        return F.linear(extra.flatten(0, 1), self.conv.weight[:, :, 1, 1], self.conv.bias).view(extra.shape)
