"""What several adapters compute, as plain functions of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split_extra_tokens(x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Split (B, K + H * W, C) into the K extra tokens and the H * W grid tokens."""
    extra = x.shape[1] - hw_shape[0] * hw_shape[1]
    return x[:, :extra], x[:, extra:]


def filter_tokens(
    image_filter: Callable[[Tensor], Tensor],
    tokens: Tensor,
    hw_shape: tuple[int, int],
    alone: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Apply a filter of images to tokens, each extra token being an image of 1x1.

    Args:
        image_filter: From (B, r, H, W) to the same shape.
        tokens: (B, K + H * W, r), the K extra tokens first.
        hw_shape: The token grid (H, W).
        alone: What the filter does to images of 1x1, from (B, K, r) to the same shape, where that can be had for less.

    Returns:
        (B, K + H * W, r).
    """

    def filtered(part: Tensor, shape: tuple[int, int]) -> Tensor:
        return image_filter(part.transpose(1, 2).unflatten(2, shape)).flatten(2).transpose(1, 2)

    def filtered_alone(extra: Tensor) -> Tensor:
        """Fold the K tokens into the batch."""
        return filtered(extra.reshape(-1, 1, extra.shape[2]), (1, 1)).view(extra.shape)

    extra, grid = split_extra_tokens(tokens, hw_shape)
    if not extra.shape[1]:
        return filtered(grid, hw_shape)
    return torch.cat([(alone or filtered_alone)(extra), filtered(grid, hw_shape)], dim=1)


def is_plain(module: nn.Module) -> bool:
    """Whether nobody hooks into a module's call or wraps its `forward`: only then may one do without calling it."""
    return not (module._forward_hooks or module._forward_pre_hooks or 'forward' in vars(module))


def plus_linear(stream: Tensor, hidden: Tensor, linear: nn.Linear, scale: float = 1.0) -> Tensor:
    """Return `stream + scale * linear(hidden)`, in one pass over the stream: the bias is one more row of the weight.

    Spelled out, three tensors as large as the stream would be written; so it is under autocast, where the stream is of
    another precision than what the layer puts out, and with a layer that somebody replaced (quantised, wrapped).

    Args:
        stream: (..., C).
        hidden: (..., r).
        linear: From r to C channels.
        scale: Factor.

    Returns:
        (..., C).
    """
    plain = type(linear) is nn.Linear and linear.bias is not None and is_plain(linear)
    if not plain or not stream.dtype == hidden.dtype == linear.weight.dtype:
        return stream + scale * linear(hidden)
    weight = torch.cat([linear.weight, linear.bias[:, None]], 1)
    rows = F.pad(hidden, (0, 1), value=1.0).flatten(0, -2)
    return torch.addmm(stream.flatten(0, -2), rows, weight.t(), alpha=scale).view(stream.shape)


def linear_after(weight: Tensor, bias: Tensor | None, delta: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer `x -> W (x + delta x + shift) + b` as one weight and bias, computed in float64."""
    wide = weight.double()
    new_bias = wide @ shift.double() + (0 if bias is None else bias.double())
    return (wide + wide @ delta.double()).to(weight.dtype), new_bias.to(weight.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """Sigmoid approximation of GELU, `x * sigmoid(1.702 x)` (Hendrycks & Gimpel, arXiv 1606.08415)."""
    return x * torch.sigmoid(1.702 * x)
