"""Blocks of mmpretrain's ViT and Swin that are narrow inside: their parts, and a backbone of other widths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import nn

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.swin.attention import FusedWindowAttention

Widths = list[tuple[int, int]]
"""Per block, bottom first: channels of a head, and hidden channels of the FFN."""


@dataclass(frozen=True)
class InnerLayers:
    """The parts of a block, in mmpretrain.

    Inside its two branches it can be narrowed while the residual stream keeps its width.

    Attributes:
        attn_norm: Before the attention.
        attn: What owns `qkv`, `proj` and `num_heads`.
        ffn_norm: Before the FFN.
        ffn: The host's FFN.
    """

    attn_norm: Any
    attn: Any
    ffn_norm: Any
    ffn: Any

    @property
    def linears(self) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
        """The linear layers in the order they run: q, k and v in one, projection, and the FFN's two."""
        return self.attn.qkv, self.attn.proj, self.ffn.layers[0][0], self.ffn.layers[1]

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.attn.qkv.out_features // 3 // self.attn.num_heads


def inner_layers(backbone: Any) -> list[list[InnerLayers]]:
    """Return the parts of every block of mmpretrain's ViT or Swin, stage by stage; stages without blocks are left out.

    Raises:
        ValueError: If the backbone is another one, or its attention cannot be narrowed.
    """
    lists = backbone.block_lists() if isinstance(backbone, PrunedBackbone) else []
    stages = [[_parts(block) for block in blocks] for blocks in lists if len(blocks)]
    if not stages or not all(isinstance(getattr(layer.attn, 'qkv', None), nn.Linear) for layer in chain(*stages)):
        raise ValueError(
            "methods: 'depgraph' is built for PrunedVisionTransformer and PrunedSwinTransformer "
            f'(fused_attention=True) of mmpretrain, not for this {type(backbone).__name__}; leave it out'
        )
    return stages


def _parts(block: Any) -> InnerLayers:
    if hasattr(block, 'ln1'):
        return InnerLayers(block.ln1, block.attn, block.ln2, block.ffn)
    # The host's own window attention takes the stream's width for that of its heads, and stays unnarrowed.
    attn = block.attn.w_msa if isinstance(block.attn, FusedWindowAttention) else block.attn
    return InnerLayers(block.norm1, attn, block.norm2, block.ffn)


def widths_of(layers: Iterable[InnerLayers]) -> Widths:
    """Return channels of a head and hidden channels of every block."""
    return [(layer.head_width, layer.linears[2].out_features) for layer in layers]


def shrink(backbone: Any, widths: Sequence[Sequence[int]]) -> None:
    """Give a backbone a pruned one's widths, in place, its values to be loaded; it stands on no base file any more.

    Raises:
        ValueError: If there is not one pair of widths per block, or the backbone is neither ViT nor Swin of mmpretrain.
    """
    layers = list(chain(*inner_layers(backbone)))
    if len(widths) != len(layers):
        raise ValueError(f'inner_widths: {len(widths)} pairs for {len(layers)} blocks')
    for layer, (head, hidden) in zip(layers, widths, strict=True):
        qkv, proj, fc1, fc2 = layer.linears
        inner, ffn = head * layer.attn.num_heads, layer.ffn.layers
        layer.attn.qkv, layer.attn.proj = _resized(qkv, out=3 * inner), _resized(proj, into=inner)
        ffn[0][0], ffn[1] = _resized(fc1, out=hidden), _resized(fc2, into=hidden)
        tell_widths(layer)
    leave_base(backbone)


def _resized(linear: nn.Linear, into: int | None = None, out: int | None = None) -> nn.Linear:
    new = nn.Linear(into or linear.in_features, out or linear.out_features, bias=linear.bias is not None)
    for name, parameter in new.named_parameters():  # BitFit trains biases alone
        parameter.requires_grad_(linear.get_parameter(name).requires_grad)
    return new


def tell_widths(layer: InnerLayers) -> None:
    """Bring up to date the widths that mmpretrain's ViT attention keeps; Swin's fused attention reads its layers."""
    if hasattr(layer.attn, 'head_dims'):
        layer.attn.head_dims, layer.attn.embed_dims = layer.head_width, layer.head_width * layer.attn.num_heads


def leave_base(backbone: Any) -> None:
    """Count the backbone's weights as the task's own: they come from no base file any more."""
    backbone.base_sha256 = backbone.base_checkpoint = None
