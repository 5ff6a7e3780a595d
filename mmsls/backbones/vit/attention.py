"""Fused global self-attention: the host's parameters, PyTorch's scaled-dot-product kernel."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmsls.backbones.swin.attention import spelled_out


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
