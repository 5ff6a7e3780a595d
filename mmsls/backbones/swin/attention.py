"""Fused (shifted) window attention: the host's parameters, PyTorch's scaled-dot-product kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmsls.backbones.swin.windows import cut, put_back, shift_mask, window_layout
from mmsls.backbones.tracing import looked_on, spelled_out


class FusedWindowAttention(BaseModule):
    """Drop-in for the host's `ShiftWindowMSA`, with the same children and state-dict keys.

    MMEngine's `init_weights` goes through it to them.

    The position bias is expanded once and kept where its table is fixed, and where every token goes is worked out once
    per resolution (`WindowLayout`); the host does both in every call. Shift and padding are as in the host (Liu et al.,
    Swin Transformer, ICCV 2021).

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
        height, width = hw_shape
        shape, size, shift = (query.shape[0], height, width), self.window_size, self._shift(height, width)
        bias = self._position_bias(query.dtype)
        if looked_on(query):
            windows = cut(query.view(*shape, -1), size, shift)
            windows = self._attend(windows, [(len(windows), self._whole_mask(bias, windows, shape, shift))])
            tokens = put_back(windows, shape, size, shift)
        else:
            layout = window_layout(shape, size, shift, query.device, query.dtype)
            windows = layout.cut(query.reshape(-1, query.shape[2])).view(-1, size * size, query.shape[2])
            parts = [(len(windows) - layout.mixed, bias)]
            if layout.mask is not None:
                parts.append((layout.mixed, bias + layout.mask))
            tokens = layout.put_back(self._attend(windows, parts).flatten(0, 1))
        return self.drop(tokens.reshape(query.shape))

    def _attend(self, windows: Tensor, parts: list[tuple[int, Tensor]]) -> Tensor:
        """Attend inside each window of (B * nW, N, C); the strided q, k, v go to the kernel without a copy.

        Args:
            windows: The windows.
            parts: How many of them, in their order, and what is added to the scores of these, broadcastable to
                (number, heads, N, N).
        """
        msa = self.w_msa
        qkv = msa.qkv(windows)
        count, tokens, inner = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3  # C, or less in heads that were narrowed
        qkv = qkv.view(count, tokens, 3, msa.num_heads, inner // msa.num_heads).permute(2, 0, 3, 1, 4)
        numbers = [number for number, _ in parts]
        outs = [
            self._weigh(part, mask.to(qkv.dtype)).transpose(1, 2).reshape(number, tokens, inner)
            for part, (number, mask) in zip(qkv.split(numbers, 1), parts, strict=True)
            if number
        ]
        return msa.proj_drop(msa.proj(outs[0] if len(outs) == 1 else torch.cat(outs)))

    def _weigh(self, qkv: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted values, (number, heads, N, C / heads), of (3, number, heads, N, C / heads)."""
        msa, (q, k, v) = self.w_msa, qkv.unbind(0)
        if spelled_out():
            return msa.attn_drop(msa.softmax(q * msa.scale @ k.transpose(-2, -1) + mask)) @ v
        dropout = msa.attn_drop.p if msa.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=msa.scale)

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

    def _whole_mask(self, bias: Tensor, windows: Tensor, shape: tuple[int, int, int], shift: int) -> Tensor:
        """Return bias plus shift mask, broadcastable to (B * nW, heads, N, N)."""
        if not shift:
            return bias
        batch, height, width = shape
        size = self.window_size
        padded = (height + -height % size, width + -width % size)
        both = bias + shift_mask(*padded, size, shift, windows.device, windows.dtype)
        return both if batch == 1 else both.repeat(batch, 1, 1, 1)

    def _position_bias(self, dtype: torch.dtype) -> Tensor:
        """Return the bias table as (1, heads, N, N); a fixed one is expanded once."""
        table = self.w_msa.relative_position_bias_table
        # An exporter traces stand-ins for tensors: they have no address, and nothing made of them may be kept.
        if torch.compiler.is_compiling() or not self.fixed_table or table.requires_grad or table.is_inference():
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
