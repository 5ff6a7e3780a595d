"""What a backbone hands out of every block, and the token grid of the pass under way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import local
from typing import Any

from torch import Tensor, nn


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


class TokenGrid:
    """The token grid (H, W) of the forward pass under way.

    The hosts call a ViT block with its tokens alone. So a hook on the patch embedding notes the grid here, and every
    block reads it. The hook is a bound method, since a copied model (EMA) must note its own grid: a closure would not
    be copied. Every thread has its own grid, so that one model may serve several.
    """

    def __init__(self) -> None:
        self._pass = local()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the grid out of copies and pickles."""
        return {key: value for key, value in vars(self).items() if key != '_pass'}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without a grid."""
        vars(self).update(state, _pass=local())

    def note(self, module: nn.Module, inputs: tuple, output: tuple[Tensor, tuple[int, int]]) -> None:  # noqa: ARG002
        """Forward hook of the patch embedding, which returns the tokens and their grid."""
        height, width = output[1]
        self.noted((height, width))

    def noted(self, shape: tuple[int, int]) -> None:
        """Keep the grid (H, W) of this thread's pass."""
        self._pass.shape = shape

    @property
    def shape(self) -> tuple[int, int]:
        """The grid (H, W) of the padded input.

        Raises:
            RuntimeError: If no image passed the patch embedding yet.
        """
        shape = getattr(self._pass, 'shape', None)
        if shape is None:
            raise RuntimeError('the token grid is not known: call the backbone, not one of its blocks')
        return shape


class FixedGrid(TokenGrid):
    """The token grid of a backbone whose positions are those of one image size.

    Args:
        only: The grid (H, W) that its position tables are made for.
        side: Side of a patch in pixels, for the error.
    """

    def __init__(self, only: tuple[int, int], side: int) -> None:
        super().__init__()
        self.only, self.side = only, side

    def noted(self, shape: tuple[int, int]) -> None:
        """Keep the grid (H, W) of this thread's pass.

        Raises:
            ValueError: If it is another one than the positions are made for.
        """
        if tuple(shape) != self.only:
            raise ValueError(
                f'img_size: the position tables are made for {self.only[0]}x{self.only[1]} patches of {self.side} '
                f'pixels, got an image of {shape[0]}x{shape[1]} whole patches: set img_size to the size of the images, '
                'and have the pipeline resize or pad to it'
            )
        super().noted(shape)
