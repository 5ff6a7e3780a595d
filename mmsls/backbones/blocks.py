"""Transformer blocks with adapter slots, built around the host's own children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmsls.adapters.base import PARTS, Adapter
from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.backbones.adapted_layers import see_through


@dataclass(frozen=True)
class LinearLayer:
    """Where a linear layer keeps its parameters; `nn.MultiheadAttention` has no `nn.Linear` for q, k and v.

    Attributes:
        module: The module that owns them.
        weight_name: Name of the weight, (out, in).
        bias_name: Name of the bias, (out,); the parameter may be None.
    """

    module: nn.Module
    weight_name: str = 'weight'
    bias_name: str = 'bias'

    @property
    def weight(self) -> Tensor:
        """The weight itself, (out, in), not what an adapter makes of it."""
        return cast(Tensor, self.module._parameters[self.weight_name])

    @property
    def bias(self) -> Tensor | None:
        """The bias, (out,), or None."""
        return self.module._parameters[self.bias_name]


class AdaptedBlock(nn.Module):
    """A pre-norm block whose two branches have adapter slots (see `Adapter` for the places).

    The host's children are re-parented under the host's names, so the base's state-dict keys stay as they are; adapters
    add keys under `adapters.`. A subclass knows one host family: its child names and how its branches are called.

    Args:
        block: The host's block.
        adapters: Slot name to adapter.
    """

    branches: tuple[str, str] = ('attn', 'ffn')
    padded_branches: frozenset[str] = frozenset()
    """Branches that pad their input with zeros."""

    def __init__(self, block: Any, adapters: Mapping[str, Adapter] | None = None) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        self.with_cp: bool = getattr(block, 'with_cp', False)  # mmpretrain's ViT has none
        self.adapters = nn.ModuleDict()
        self.insert(adapters or {})

    def insert(self, adapters: Mapping[str, Adapter]) -> None:
        """Add adapters by slot."""
        self.adapters.update(adapters)
        for slot, adapter in adapters.items():
            if isinstance(adapter, LayerAdapter):
                layer = self.layers()[slot]
                see_through(layer.module, (layer.weight_name, layer.bias_name), adapter)

    def norm(self, branch: str) -> Any:
        """Return the norm before a branch."""
        raise NotImplementedError

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:
        """Return `identity + branch(h)`, drop path included; `given` is what the host hands to its blocks besides."""
        raise NotImplementedError

    def layers(self) -> dict[str, LinearLayer]:
        """Return the layer at each slot of `LayerAdapter`.

        They are `attn_norm`, `attn_qkv` (rows in this order), `attn_proj`, `ffn_norm`, `ffn_fc1` and `ffn_fc2`.
        """
        raise NotImplementedError

    def input_linears(self, branch: str) -> list[LinearLayer]:
        """Return the linear layers that first meet the branch's input: one, or the parts that it falls into."""
        layers, slot = self.layers(), 'attn_qkv' if branch == 'attn' else 'ffn_fc1'
        return [layers[part] for part in ((slot,) if slot in layers else PARTS[slot])]

    def forward(self, x: Tensor, hw_shape: tuple[int, int], **given: Any) -> Tensor:
        """Run the block on (B, L, C) tokens over the grid `hw_shape`."""
        # Not `self.training`: a frozen block is in eval mode while its adapters train.
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._forward, x, hw_shape, use_reentrant=False, **given)
        return self._forward(x, hw_shape, **given)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int], **given: Any) -> Tensor:
        for branch in self.branches:
            h = self._adapt(f'{branch}_input', self.norm(branch)(x), hw_shape)
            if f'{branch}_output' in self.adapters:
                out = self.run(branch, h, hw_shape, identity=x.new_zeros(()), **given)
                x = x + self.adapters[f'{branch}_output'](out, hw_shape)
            else:
                x = self.run(branch, h, hw_shape, identity=x, **given)
            if f'{branch}_parallel' in self.adapters:
                beside = cast(Adapter, self.adapters[f'{branch}_parallel'])
                x = beside.add_to(x, h, hw_shape)
            x = self._adapt(f'{branch}_stream', x, hw_shape)
        return x

    def _adapt(self, slot: str, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return self.adapters[slot](x, hw_shape) if slot in self.adapters else x
