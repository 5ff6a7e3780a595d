"""DepGraph (Fang et al., CVPR 2023): structural pruning of a tuned ViT with group Taylor importance, by the package torch-pruning."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.criteria.base import Evidence
from mmsls.criteria.taylor import gradients_of

Widths = list[tuple[int, int]]
"""Per block: channels of a head, and hidden channels of the FFN."""


def torch_pruning() -> Any:
    """Import the package.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        return importlib.import_module('torch_pruning')
    except ImportError as error:
        raise ValueError(
            f"methods: 'depgraph' needs the package torch-pruning, which cannot be imported ({error}); "
            'install it: pip install torch-pruning'
        ) from error


def depgraph(evidence: Evidence, parameters: int, batches: int = 8) -> Widths:
    """Prune the hidden channels of the FFNs and the channels of the heads until a model has a given size, in place.

    The width of the residual stream stays, so that adapters and head keep their inputs; the same share goes everywhere, as by default in
    torch-pruning. What is left of the base is no longer the base, and has to be stored with the task.

    Args:
        evidence: The tuned model, a ViT.
        parameters: How many parameters the model shall have.
        batches: Batches of training images whose gradients give the importance.

    Returns:
        The widths that were left.

    Raises:
        ValueError: If torch-pruning is not installed, the backbone is no ViT of mmpretrain, or the size cannot be had.
    """
    package, backbone = torch_pruning(), evidence.backbone
    layers = vit_layers(backbone)
    share = share_to_prune(evidence.model, layers, parameters)
    inner = {module for layer in layers for module in (layer.attn.qkv, layer.ffn.layers[0][0])}
    others = [
        m
        for m in backbone.modules()
        if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm)) and m not in inner
    ]
    tokens = torch.zeros(1, 3, layers[0].attn.qkv.in_features, device=next(backbone.parameters()).device)
    with gradients_of(evidence, batches), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the class token and the position embedding, whose width stays
        pruner = package.pruner.MetaPruner(
            backbone,
            tokens,
            importance=package.importance.GroupTaylorImportance(),
            pruning_ratio=share,
            ignored_layers=others,
            num_heads={layer.attn.qkv: layer.attn.num_heads for layer in layers},
            prune_head_dims=True,
            root_module_types=[nn.Linear],
            forward_fn=run_layers,
        )
        pruner.step()
    for layer in layers:
        _settle_attention(layer.attn)
    _leave_base(backbone)
    return widths_of(layers)


def run_layers(backbone: Any, x: Tensor) -> Tensor:
    """Run a ViT's layers without adapters, for tracing: torch-pruning follows `chunk`, but not the host's indexing of q, k and v."""
    for layer in backbone.layers:
        q, k, v = layer.attn.qkv(layer.ln1(x)).chunk(3, dim=-1)
        x = x + layer.attn.proj(nn.functional.scaled_dot_product_attention(q, k, v))
        x = layer.ffn(layer.ln2(x), identity=x)
    return x


def vit_layers(backbone: Any) -> list[Any]:
    """Return the layers of mmpretrain's ViT.

    Raises:
        ValueError: If the backbone is another one.
    """
    layers = list(getattr(backbone, 'layers', []))
    if not layers or not all(isinstance(getattr(layer.attn, 'qkv', None), nn.Linear) for layer in layers):
        raise ValueError(
            f"methods: 'depgraph' is built for mmpretrain's VisionTransformer, not for {type(backbone).__name__}; leave it out"
        )
    return layers


def share_to_prune(model: nn.Module, layers: Sequence[Any], parameters: int) -> float:
    """Return which share of the inner channels has to go for a number of parameters.

    Raises:
        ValueError: If even half a tenth of the channels is too many, or nothing has to go.
    """
    total = sum(p.numel() for p in model.parameters())
    inner = sum(
        sum(p.numel() for p in module.parameters())
        for layer in layers
        for module in (layer.attn.qkv, layer.attn.proj, layer.ffn.layers[0][0], layer.ffn.layers[1])
    )
    share = (total - parameters) / inner
    if not 0 < share <= 0.95:
        raise ValueError(
            f'depgraph: {parameters} parameters cannot be had by pruning inner channels alone: the model has {total}, {inner} of them inside'
        )
    return share


def widths_of(layers: Sequence[Any]) -> Widths:
    """Return channels of a head and hidden channels of every layer."""
    return [
        (layer.attn.qkv.out_features // 3 // layer.attn.num_heads, layer.ffn.layers[0][0].out_features)
        for layer in layers
    ]


def shrink(backbone: Any, widths: Sequence[Sequence[int]]) -> None:
    """Give a ViT the widths of a pruned one, in place, its values to be loaded; it stands on no base file any more.

    Raises:
        ValueError: If there is not one pair of widths per block, or the backbone is no ViT of mmpretrain.
    """
    layers = vit_layers(backbone)
    if len(widths) != len(layers):
        raise ValueError(f'inner_widths: {len(widths)} pairs for {len(layers)} blocks')
    for layer, (head, hidden) in zip(layers, widths, strict=True):
        inner, attn, ffn = head * layer.attn.num_heads, layer.attn, layer.ffn.layers
        attn.qkv, attn.proj = _resized(attn.qkv, out=3 * inner), _resized(attn.proj, into=inner)
        ffn[0][0], ffn[1] = _resized(ffn[0][0], out=hidden), _resized(ffn[1], into=hidden)
        attn.head_dims, attn.embed_dims = head, inner
    _leave_base(backbone)


def _resized(linear: nn.Linear, into: int | None = None, out: int | None = None) -> nn.Linear:
    new = nn.Linear(into or linear.in_features, out or linear.out_features, bias=linear.bias is not None)
    return new.requires_grad_(linear.weight.requires_grad)


def _settle_attention(attn: Any) -> None:
    """Tell the host's attention its new widths; it scales by the head's width, so queries make up for the change."""
    old, new = attn.head_dims, attn.qkv.out_features // 3 // attn.num_heads
    inner = new * attn.num_heads
    with torch.no_grad():
        for parameter in attn.qkv.parameters():
            parameter[:inner] *= (new / old) ** 0.5
    attn.head_dims, attn.embed_dims = new, inner


def _leave_base(backbone: Any) -> None:
    """Count the backbone's weights as the task's own: they come from no base file any more."""
    backbone.base_sha256 = backbone.base_checkpoint = None
