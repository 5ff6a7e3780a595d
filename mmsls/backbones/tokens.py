"""What a backbone hands out of every block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class BlockTokens:
    """The output of one block for one batch.

    Attributes:
        tokens: Image tokens (B, H * W, C) in row order, without class or register tokens.
        hw_shape: Token grid (H, W) of the padded input.
        stride: Side of one token in pixels of the padded input: token (i, j) covers rows i * stride up to
            (i + 1) * stride and columns j * stride up to (j + 1) * stride.
        extra_tokens: Class token first, then others, (B, K, C); None where the backbone has none.
    """

    tokens: Tensor
    hw_shape: tuple[int, int]
    stride: int
    extra_tokens: Tensor | None = None

    def detach(self) -> BlockTokens:
        """Return the same tokens without their autograd graph."""
        extra = None if self.extra_tokens is None else self.extra_tokens.detach()
        return replace(self, tokens=self.tokens.detach(), extra_tokens=extra)
