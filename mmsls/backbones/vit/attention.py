"""Fused global self-attention: the host's parameters, PyTorch's scaled-dot-product kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmsls.backbones.tracing import spelled_out


class FusedSelfAttention(BaseModule):
    """Drop-in for mmcv's `MultiheadAttention` (self-attention, batch first), same children and state-dict keys.

    mmcv 2 has `nn.MultiheadAttention` compute the attention weights of all heads and average them, and drops the
    result; with its transposed views it also takes three matrix products for q, k and v. The fused kernel never writes
    the weights down.

    Args:
        attention: The host's module; its children are re-parented, not copied.
    """

    # The host's own children.
    attn: Any
    proj_drop: Any
    dropout_layer: Any

    def __init__(self, attention: Any) -> None:
        super().__init__(attention.init_cfg)
        self.attn = attention.attn
        self.proj_drop = attention.proj_drop
        self.dropout_layer = attention.dropout_layer

    def forward(self, query: Tensor, identity: Tensor | None = None) -> Tensor:
        """Attend among all tokens.

        Args:
            query: Normed tokens, (B, L, C).
            identity: What the result is added to; None: `query`.

        Returns:
            (B, L, C).
        """
        batch, tokens, channels = query.shape
        attn = self.attn
        qkv = F.linear(query, attn.in_proj_weight, attn.in_proj_bias)
        qkv = qkv.view(batch, tokens, 3, attn.num_heads, channels // attn.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, L, C / heads)
        dropout = attn.dropout if attn.training else 0.0
        if spelled_out():
            scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
            out = F.dropout(scores.softmax(-1), dropout, dropout > 0) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        out = attn.out_proj(out.transpose(1, 2).reshape(batch, tokens, channels))
        return (query if identity is None else identity) + self.dropout_layer(self.proj_drop(out))


class FusedRelativeAttention:
    """In front of a host's `BEiTAttention`: the same parameters, PyTorch's scaled-dot-product kernel.

    Both toolboxes have that class; what is made of it is registered nowhere: a backbone gives its attentions the class
    (`PrunedBEiTMixin.fused_attention_class`).
    """

    # The host's own children and attributes.
    bias: Any
    q_bias: Any
    v_bias: Any
    qkv: Any
    scale: float
    num_heads: int
    attn_drop: Any
    proj: Any
    proj_drop: Any
    relative_position_bias_table: Tensor | None
    relative_position_index: Any

    def forward(self, x: Tensor, rel_pos_bias: Tensor | None = None) -> Tensor:
        """Attend among all tokens.

        Args:
            x: Normed tokens, (B, L, C).
            rel_pos_bias: What all blocks add to their scores, (heads, L, L); mmpretrain alone has it.

        Returns:
            (B, L, C).
        """
        if spelled_out():
            given = {} if rel_pos_bias is None else {'rel_pos_bias': rel_pos_bias}
            return super().forward(x, **given)  # type: ignore[misc]  # the host's, next in line
        batch, tokens, channels = x.shape
        bias = self.qkv.bias
        if self.bias == 'qv_bias':
            bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).view(batch, tokens, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, L, C / heads)
        dropout = self.attn_drop.p if self.attn_drop.training else 0.0
        mask = self._added(tokens, rel_pos_bias)
        mask = None if mask is None else mask.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=self.scale)
        return self.proj_drop(self.proj(out.transpose(1, 2).reshape(batch, tokens, channels)))

    def _added(self, tokens: int, shared: Tensor | None) -> Tensor | None:
        """Return what is added to the scores, (heads, L, L), or None."""
        table = self.relative_position_bias_table
        if table is None:
            return shared
        own = table[self.relative_position_index.view(-1)].view(tokens, tokens, -1).permute(2, 0, 1)
        return own if shared is None else own + shared
