"""DepGraph (Fang et al., CVPR 2023) on a tuned ViT or Swin: structural pruning by group Taylor importance.

The package torch-pruning does it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.swin.attention import FusedWindowAttention
from mmsls.criteria.base import Evidence
from mmsls.criteria.taylor import gradients_of

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
    _leave_base(backbone)
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
        _tell_widths(layer)
    _leave_base(backbone)


def _resized(linear: nn.Linear, into: int | None = None, out: int | None = None) -> nn.Linear:
    new = nn.Linear(into or linear.in_features, out or linear.out_features, bias=linear.bias is not None)
    for name, parameter in new.named_parameters():  # BitFit trains biases alone
        parameter.requires_grad_(linear.get_parameter(name).requires_grad)
    return new


def _settle_attention(layer: InnerLayers, old: int) -> None:
    """Tell the attention its new widths.

    A ViT's scales by the head's width, so queries make up for the change; Swin's keeps its scale.
    """
    _tell_widths(layer)
    if hasattr(layer.attn, 'scale'):
        return
    with torch.no_grad():
        for parameter in layer.attn.qkv.parameters():
            parameter[: layer.head_width * layer.attn.num_heads] *= (layer.head_width / old) ** 0.5


def _tell_widths(layer: InnerLayers) -> None:
    """Bring up to date the widths that mmpretrain's ViT attention keeps; Swin's fused attention reads its layers."""
    if hasattr(layer.attn, 'head_dims'):
        layer.attn.head_dims, layer.attn.embed_dims = layer.head_width, layer.head_width * layer.attn.num_heads


def _leave_base(backbone: Any) -> None:
    """Count the backbone's weights as the task's own: they come from no base file any more."""
    backbone.base_sha256 = backbone.base_checkpoint = None
