"""Windows of a token grid: cut out of it, shifted or not, and put back into it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -100.0
"""What the hosts add to the score of two tokens that the cyclic shift brought together (they don't use -inf)."""


def partition(grid: Tensor, size: int) -> Tensor:
    """Cut (B, H, W, C) into windows (B * nW, size^2, C); H and W are multiples of `size`."""
    batch, height, width, channels = grid.shape
    windows = grid.view(batch, height // size, size, width // size, size, channels).transpose(2, 3)
    return windows.reshape(-1, size * size, channels)


def unpartition(windows: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Put windows (B * nW, size^2, C) back to the grid (B, H, W, C) given as `shape`."""
    batch, height, width, channels = shape
    size = int(windows.shape[1] ** 0.5)
    grid = windows.view(batch, height // size, width // size, size, size, channels).transpose(2, 3)
    return grid.reshape(shape)


def cut(grid: Tensor, size: int, shift: int) -> Tensor:
    """Pad (B, H, W, C) with zeros to whole windows, shift it cyclically, and cut it into (B * nW, size^2, C)."""
    pad_h, pad_w = -grid.shape[1] % size, -grid.shape[2] % size
    if pad_h or pad_w:
        grid = F.pad(grid, (0, 0, 0, pad_w, 0, pad_h))
    if shift:
        grid = grid.roll((-shift, -shift), (1, 2))
    return partition(grid, size)


def put_back(windows: Tensor, shape: tuple[int, int, int], size: int, shift: int) -> Tensor:
    """Undo `cut`: (B * nW, size^2, C) to the grid (B, H, W, C) whose first three sides are `shape`."""
    batch, height, width = shape
    grid = unpartition(windows, (batch, height + -height % size, width + -width % size, windows.shape[2]))
    if shift:
        grid = grid.roll((shift, shift), (1, 2))
    return grid[:, :height, :width]


def shift_mask(height: int, width: int, size: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return what is added to the attention scores of a shifted window partition, (nW, 1, size^2, size^2).

    Args:
        height: Padded grid height, a multiple of `size`.
        width: Padded grid width, a multiple of `size`.
        size: Window side in tokens.
        shift: Cyclic shift in tokens, in [1, size).
        device: Where the mask lives.
        dtype: Its dtype.
    """

    def bands(length: int) -> Tensor:
        position = torch.arange(length, device=device)
        return (position >= length - size).long() + (position >= length - shift).long()

    region = 3 * bands(height)[:, None] + bands(width)[None, :]
    windows = region.view(height // size, size, width // size, size).transpose(1, 2).reshape(-1, size * size)
    apart = windows[:, None, :] != windows[:, :, None]
    return torch.zeros(apart.shape, dtype=dtype, device=device).masked_fill_(apart, MASKED).unsqueeze(1)


@dataclass(frozen=True, eq=False)
class WindowLayout:
    """Which token stands where in the windows of a batch, by number: one gathering instead of pad, roll and transpose.

    Windows that the shift left whole come first, image by image, and those that it mixed last: only these need a mask
    of their own.

    Attributes:
        rows: Token that every place of the windows reads, (B * nW * size^2,), int32; padding reads the first.
        padding: Places beyond the grid, (P,).
        places: Place of every token, (B * H * W,), int32.
        mixed: How many windows come last.
        mask: What is added to their scores, (mixed, 1, size^2, size^2); None without a shift.
    """

    rows: Tensor
    padding: Tensor
    places: Tensor
    mixed: int
    mask: Tensor | None

    def cut(self, tokens: Tensor) -> Tensor:
        """Gather tokens (B * H * W, C) into places (B * nW * size^2, C), zeros where there is padding."""
        return _Cut.apply(tokens, self)

    def put_back(self, places: Tensor) -> Tensor:
        """Gather places (B * nW * size^2, C) back into tokens (B * H * W, C)."""
        return _PutBack.apply(places, self)


class _Cut(torch.autograd.Function):
    """`WindowLayout.cut`; its gradient gathers too, where that of an index would scatter row by row."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, layout: WindowLayout) -> Tensor:
        ctx.layout = layout
        places = tokens.index_select(0, layout.rows)
        return places.index_fill_(0, layout.padding, 0) if len(layout.padding) else places

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _PutBack.apply(gradient, ctx.layout), None


class _PutBack(torch.autograd.Function):
    """`WindowLayout.put_back`, the adjoint of `_Cut`."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, layout: WindowLayout) -> Tensor:
        ctx.layout = layout
        return places.index_select(0, layout.places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Cut.apply(gradient, ctx.layout), None


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is made in inference mode could not be used in training later
def window_layout(
    shape: tuple[int, int, int], size: int, shift: int, device: torch.device, dtype: torch.dtype
) -> WindowLayout:
    """Return the layout of a batch of grids.

    Args:
        shape: Images, and rows and columns of their grids (B, H, W).
        size: Window side in tokens.
        shift: Cyclic shift in tokens, in [0, size).
        device: Where the tokens live.
        dtype: That of the mask.
    """
    batch, height, width = shape
    numbers = torch.arange(1, batch * height * width + 1, device=device, dtype=torch.int32).view(*shape, 1)
    windows = cut(numbers, size, shift).squeeze(2)
    mask, mixed = None, 0
    order = torch.arange(len(windows), device=device)
    if shift:
        mask = shift_mask(height + -height % size, width + -width % size, size, shift, device, dtype)
        is_mixed = mask.flatten(1).any(1)
        if 2 * int(is_mixed.sum()) > len(mask):
            is_mixed = torch.ones_like(is_mixed)  # two calls of the kernel cost more than a mask for all
        mask, is_mixed = mask[is_mixed].repeat(batch, 1, 1, 1), is_mixed.repeat(batch)
        mixed, order = len(mask), is_mixed.int().argsort(stable=True)
    rows = windows[order].flatten()
    places = torch.arange(rows.numel(), device=device, dtype=torch.int32).view(len(windows), -1, 1)[order.argsort()]
    return WindowLayout(
        rows=(rows - 1).clamp_(min=0),
        padding=(rows == 0).nonzero().flatten(),
        places=put_back(places, shape, size, shift).flatten(),
        mixed=mixed,
        mask=mask,
    )
