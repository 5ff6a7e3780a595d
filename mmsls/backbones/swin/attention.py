"""Fused (shifted) window attention: the host's parameters, PyTorch's scaled-dot-product kernel."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

MASKED = -100.0
"""What the hosts add to the score of two tokens that the cyclic shift brought together (they don't use -inf)."""


class FusedWindowAttention(BaseModule):
    """Drop-in for the host's `ShiftWindowMSA`, with the same children and state-dict keys.

    MMEngine's `init_weights` goes through it to them.

    The position bias is expanded once and kept where its table is fixed, and the shift mask once per resolution; the
    host does both in every call. Shift and padding are as in the host (Liu et al., Swin Transformer, ICCV 2021).

    Args:
        attention: The host's module; its `w_msa` and `drop` are re-parented, not copied.
        fixed_table: Whether the bias table belongs to a frozen base. `requires_grad` alone does not say so: the teacher
            of mmdet's MeanTeacherHook and EMA copies have none, and are changed through `.data`, which leaves no trace
            in the tensor's version.
    """

    # The host's own children.
    w_msa: Any
    drop: Any

    def __init__(self, attention: Any, fixed_table: bool = False) -> None:
        super().__init__(attention.init_cfg)
        self.window_size: int = attention.window_size
        self.shift_size: int = attention.shift_size
        # Of mmpretrain alone: mmdet and mmseg always shift, and pad a map smaller than a window.
        self.pads_small_maps: bool = getattr(attention, 'pad_small_map', True)
        self.w_msa = attention.w_msa
        self.drop = attention.drop
        self.fixed_table = fixed_table
        self._bias: tuple[tuple, Tensor] | None = None

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend inside windows.

        Args:
            query: Normed tokens, (B, H * W, C).
            hw_shape: Their grid (H, W), any size.

        Returns:
            (B, H * W, C).
        """
        batch, _, channels = query.shape
        height, width = hw_shape
        size, shift = self.window_size, self._shift(height, width)
        pad_h, pad_w = -height % size, -width % size
        grid = query.view(batch, height, width, channels)
        if pad_h or pad_w:
            grid = F.pad(grid, (0, 0, 0, pad_w, 0, pad_h))
        if shift:
            grid = grid.roll((-shift, -shift), (1, 2))
        windows = partition(grid, size)
        windows = self._attend(windows, self._mask(windows.dtype, batch, grid.shape[1:3], query.device, shift))
        grid = unpartition(windows, grid.shape)
        if shift:
            grid = grid.roll((shift, shift), (1, 2))
        return self.drop(grid[:, :height, :width].reshape(batch, height * width, channels))

    def _attend(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Attend inside each window of (B * nW, N, C); the strided q, k, v go to the kernel without a copy."""
        msa = self.w_msa
        qkv = msa.qkv(windows)
        count, tokens, inner = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3  # C, or less in heads that were narrowed
        q, k, v = qkv.view(count, tokens, 3, msa.num_heads, inner // msa.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        if spelled_out():
            out = msa.attn_drop(msa.softmax(q * msa.scale @ k.transpose(-2, -1) + mask.to(q.dtype))) @ v
        else:
            dropout = msa.attn_drop.p if msa.training else 0.0
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask.to(q.dtype), dropout_p=dropout, scale=msa.scale
            )
        return msa.proj_drop(msa.proj(out.transpose(1, 2).reshape(count, tokens, inner)))

    def _shift(self, height: int, width: int) -> int:
        """Return the cyclic shift for a grid; classification hosts leave it out where one window covers an axis."""
        smaller = min(height, width)
        if self.pads_small_maps or smaller > self.window_size:
            return self.shift_size
        if smaller < self.window_size:
            raise ValueError(
                f'window_size is {self.window_size}, but the token grid is {height} x {width}: '
                'set pad_small_map=True, a smaller window_size, or a larger input'
            )
        return 0

    def _mask(self, dtype: torch.dtype, batch: int, padded: torch.Size, device: torch.device, shift: int) -> Tensor:
        """Return bias plus shift mask, broadcastable to (B * nW, heads, N, N)."""
        bias = self._position_bias(dtype)
        if not shift:
            return bias
        make = shift_mask.__wrapped__ if torch.compiler.is_compiling() else shift_mask
        both = bias + make(padded[0], padded[1], self.window_size, shift, device, dtype)
        return both if batch == 1 else both.repeat(batch, 1, 1, 1)

    def _position_bias(self, dtype: torch.dtype) -> Tensor:
        """Return the bias table as (1, heads, N, N); a fixed one is expanded once."""
        table = self.w_msa.relative_position_bias_table
        # An exporter traces stand-ins for tensors: they have no address, and nothing made of them may be kept.
        if not self.fixed_table or table.requires_grad or table.is_inference() or torch.compiler.is_compiling():
            return self._expanded(table, dtype)
        key = (table.data_ptr(), table._version, table.device, dtype)
        cached = self._bias  # another thread may replace it meanwhile
        if cached is None or cached[0] != key:
            # A tensor made in inference mode could not be used in training later.
            with torch.inference_mode(False):
                self._bias = cached = (key, self._expanded(table, dtype).detach())
        return cached[1]

    def _expanded(self, table: Tensor, dtype: torch.dtype) -> Tensor:
        tokens = self.window_size**2
        bias = table[self.w_msa.relative_position_index.view(-1)].view(tokens, tokens, -1)
        return bias.permute(2, 0, 1).unsqueeze(0).to(dtype).contiguous()

    def train(self, mode: bool = True) -> FusedWindowAttention:
        """Set the mode, and expand the table anew: EMAHook swaps weights through `.data` around each validation."""
        self._bias = None
        return super().train(mode)

    def __getstate__(self) -> dict:
        """Leave the cache out of copies and pickles (EMA deep-copies the model)."""
        return {**self.__dict__, '_bias': None}


def spelled_out() -> bool:
    """Whether to compute attention in the host's matrix products, which FLOP counters know, not in the fused kernel.

    MMEngine's counter and fvcore's trace the model and pass over the fused kernel; PyTorch's own passes over that of
    the CPU.
    """
    if torch.compiler.is_compiling():
        return False
    counts = any(type(mode).__module__ == 'torch.utils.flop_counter' for mode in _get_current_dispatch_mode_stack())
    return counts or torch.jit.is_tracing()


def partition(grid: Tensor, size: int) -> Tensor:
    """Cut (B, H, W, C) into windows (B * nW, size^2, C); H and W are multiples of `size`."""
    batch, height, width, channels = grid.shape
    windows = grid.view(batch, height // size, size, width // size, size, channels).transpose(2, 3)
    return windows.reshape(-1, size * size, channels)


def unpartition(windows: Tensor, shape: torch.Size) -> Tensor:
    """Put windows (B * nW, size^2, C) back to the grid (B, H, W, C) given as `shape`."""
    batch, height, width, channels = shape
    size = int(windows.shape[1] ** 0.5)
    grid = windows.view(batch, height // size, width // size, size, size, channels).transpose(2, 3)
    return grid.reshape(shape)


@lru_cache(maxsize=16)
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
