"""What several adapters compute, as plain functions of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def split_extra_tokens(x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Split (B, K + H * W, C) into the K extra tokens and the H * W grid tokens."""
    extra = x.shape[1] - hw_shape[0] * hw_shape[1]
    return x[:, :extra], x[:, extra:]


def filter_tokens(image_filter: Callable[[Tensor], Tensor], tokens: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Apply a filter of images to tokens, each extra token being an image of 1x1.

    Args:
        image_filter: From (B, r, H, W) to the same shape.
        tokens: (B, K + H * W, r), the K extra tokens first.
        hw_shape: The token grid (H, W).

    Returns:
        (B, K + H * W, r).
    """

    def filtered(part: Tensor, shape: tuple[int, int]) -> Tensor:
        return image_filter(part.transpose(1, 2).unflatten(2, shape)).flatten(2).transpose(1, 2)

    extra, grid = split_extra_tokens(tokens, hw_shape)
    if not extra.shape[1]:
        return filtered(grid, hw_shape)
    # Each extra token is an image of its own: fold the K tokens into the batch.
    alone = filtered(extra.reshape(-1, 1, extra.shape[2]), (1, 1)).view(extra.shape)
    return torch.cat([alone, filtered(grid, hw_shape)], dim=1)


def linear_after(weight: Tensor, bias: Tensor | None, delta: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer `x -> W (x + delta x + shift) + b` as one weight and bias, computed in float64."""
    wide = weight.double()
    new_bias = wide @ shift.double() + (0 if bias is None else bias.double())
    return (wide + wide @ delta.double()).to(weight.dtype), new_bias.to(weight.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """Sigmoid approximation of GELU, `x * sigmoid(1.702 x)` (Hendrycks & Gimpel, arXiv 1606.08415)."""
    return x * torch.sigmoid(1.702 * x)
