"""DepGraph (Fang et al., CVPR 2023) on a tuned ViT or Swin: structural pruning by group Taylor importance.

The package torch-pruning does it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.criteria.base import Evidence
from mmsls.criteria.narrowing import InnerLayers, Widths, inner_layers, leave_base, tell_widths, widths_of
from mmsls.criteria.taylor import gradients_of


class SizeError(ValueError):
    """A number of parameters that narrowing the blocks cannot give."""


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

    The width of the residual stream stays, so that adapters and head keep their inputs; the same share goes everywhere,
    as by default in torch-pruning. What is left of the base is no longer the base, and has to be stored with the task.

    Args:
        evidence: The tuned model, a ViT or Swin.
        parameters: How many parameters the model shall have.
        batches: Batches of training images whose gradients give the importance.

    Returns:
        The widths that were left.

    Raises:
        ValueError: If torch-pruning is not installed, or the backbone is another one.
        SizeError: If the size cannot be had.
    """
    package, backbone = torch_pruning(), evidence.backbone
    stages = inner_layers(backbone)
    layers = list(chain(*stages))
    share = share_to_prune(evidence.model, layers, parameters)
    old = [layer.head_width for layer in layers]
    narrowed = {linear for layer in layers for linear in (layer.linears[0], layer.linears[2])}
    others = [
        m
        for m in backbone.modules()
        if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm)) and m not in narrowed
    ]
    device = next(backbone.parameters()).device
    tokens = [torch.zeros(1, 3, stage[0].attn.qkv.in_features, device=device) for stage in stages]
    with gradients_of(evidence, batches), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of class token, position embedding and bias tables, whose width stays
        pruner = package.pruner.MetaPruner(
            backbone,
            tokens,
            importance=package.importance.GroupTaylorImportance(),
            pruning_ratio=share,
            ignored_layers=others,
            num_heads={layer.attn.qkv: layer.attn.num_heads for layer in layers},
            prune_head_dims=True,
            root_module_types=[nn.Linear],
            forward_fn=run_stages,
        )
        pruner.step()
    for layer, before in zip(layers, old, strict=True):
        _settle_attention(layer, before)
    leave_base(backbone)
    return widths_of(layers)


def run_stages(backbone: Any, tokens: Sequence[Tensor]) -> list[Tensor]:
    """Run each stage's blocks on tokens of its own, without adapters, for tracing.

    torch-pruning follows `chunk`, but not the hosts' indexing of q, k and v; windows and position biases tie no
    channels together.
    """
    outputs = []
    for x, stage in zip(tokens, inner_layers(backbone), strict=True):
        for layer in stage:
            q, k, v = layer.attn.qkv(layer.attn_norm(x)).chunk(3, dim=-1)
            x = x + layer.attn.proj(nn.functional.scaled_dot_product_attention(q, k, v))
            x = layer.ffn(layer.ffn_norm(x), identity=x)
        outputs.append(x)
    return outputs


def share_to_prune(model: nn.Module, layers: Iterable[InnerLayers], parameters: int) -> float:
    """Return which share of the inner channels has to go for a number of parameters.

    Raises:
        SizeError: If even half a tenth of the channels is too many, or nothing has to go.
    """
    total = sum(p.numel() for p in model.parameters())
    inner = sum(p.numel() for layer in layers for linear in layer.linears for p in linear.parameters())
    share = (total - parameters) / inner
    if not 0 < share <= 0.95:
        raise SizeError(
            f'depgraph: {parameters} parameters cannot be had by pruning inner channels alone: the model has {total}, '
            f'{inner} of them inside'
        )
    return share


def _settle_attention(layer: InnerLayers, old: int) -> None:
    """Tell the attention its new widths.

    A ViT's scales by the head's width, so queries make up for the change; Swin's keeps its scale.
    """
    tell_widths(layer)
    if hasattr(layer.attn, 'scale'):
        return
    with torch.no_grad():
        for parameter in layer.attn.qkv.parameters():
            parameter[: layer.head_width * layer.attn.num_heads] *= (layer.head_width / old) ** 0.5
