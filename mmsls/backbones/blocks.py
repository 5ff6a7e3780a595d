"""Transformer blocks with adapter slots, built around the host's own children."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmsls.adapters.base import Adapter
from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.backbones.adapted_layers import forget, see_through


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

    The host's children are re-parented under the host's names, so the base's state-dict keys stay as they are; adapters add keys under
    `adapters.`. A subclass knows one host family: its child names and how its branches are called.

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

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor) -> Tensor:
        """Return `identity + branch(h)`, drop path included."""
        raise NotImplementedError

    def layers(self) -> dict[str, LinearLayer]:
        """Return the slots of `LayerAdapter`: `attn_norm`, `attn_qkv` (rows in this order), `attn_proj`, `ffn_norm`, `ffn_fc1`, `ffn_fc2`."""
        raise NotImplementedError

    def input_linear(self, branch: str) -> LinearLayer:
        """Return the linear layer that first meets the branch's input."""
        return self.layers()['attn_qkv' if branch == 'attn' else 'ffn_fc1']

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Run the block on (B, L, C) tokens over the grid `hw_shape`."""
        # Not `self.training`: a frozen block is in eval mode while its adapters train.
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._forward, x, hw_shape, use_reentrant=False)
        return self._forward(x, hw_shape)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        for branch in self.branches:
            h = self._adapt(f'{branch}_input', self.norm(branch)(x), hw_shape)
            if f'{branch}_output' in self.adapters:
                out = self.run(branch, h, hw_shape, identity=x.new_zeros(()))
                x = x + self.adapters[f'{branch}_output'](out, hw_shape)
            else:
                x = self.run(branch, h, hw_shape, identity=x)
            if f'{branch}_parallel' in self.adapters:
                x = x + self.adapters[f'{branch}_parallel'](h, hw_shape)
            x = self._adapt(f'{branch}_stream', x, hw_shape)
        return x

    def _adapt(self, slot: str, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return self.adapters[slot](x, hw_shape) if slot in self.adapters else x


class AdaptedSwinBlock(AdaptedBlock):
    """Swin block of mmdet, mmseg and mmpretrain: `norm1, attn, norm2, ffn`, attention takes the token grid."""

    padded_branches = frozenset({'attn'})  # to whole windows
    # The host's own children.
    norm1: Any
    norm2: Any
    attn: Any
    ffn: Any

    def norm(self, branch: str) -> Any:
        """Return the norm before a branch."""
        return self.norm1 if branch == 'attn' else self.norm2

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor) -> Tensor:
        """Return `identity + branch(h)`, drop path included."""
        if branch == 'attn':
            return self.attn(h, hw_shape) + identity
        return self.ffn(h, identity=identity)

    def layers(self) -> dict[str, LinearLayer]:
        """Return where the block's layers keep their parameters."""
        msa, ffn = self.attn.w_msa, self.ffn.layers
        attn = {'attn_norm': self.norm1, 'attn_qkv': msa.qkv, 'attn_proj': msa.proj}
        found = {**attn, 'ffn_norm': self.norm2, 'ffn_fc1': ffn[0][0], 'ffn_fc2': ffn[1]}
        return {slot: LinearLayer(module) for slot, module in found.items()}


Folded = dict[tuple[nn.Module, str], Tensor]
"""What parameters, by module and name, become when an adapter is folded in."""


def merge_blocks(blocks: Iterable[tuple[tuple[int, int], nn.Module]]) -> None:
    """Fold the adapters of all blocks into the layers that they sit at, or that follow them, in place; all of them or none.

    A branch that pads its input with zeros (`padded_branches`) must not see its linear layer's bias change, or the padding would, and a
    layer without a bias must not get one, or the base would no longer fit the host: there the shift goes into the norm before the adapter.

    Args:
        blocks: `(stage, block)` and the block; those without adapters stay as they are.

    Raises:
        ValueError: If an adapter has no exact merge, or it, or what it makes of a layer, is not finite; nothing is changed then.
    """
    adapted = [(where, block) for where, block in blocks if isinstance(block, AdaptedBlock)]
    folded = [(block, slot, folded_in(block, slot, where)) for where, block in adapted for slot in block.adapters]
    for block, slot, tensors in folded:
        for (module, name), value in tensors.items():
            forget(module)
            old = getattr(module, name)
            trainable = old is not None and old.requires_grad
            setattr(module, name, nn.Parameter(value, requires_grad=trainable))
        del block.adapters[slot]


@torch.no_grad()
def folded_in(block: AdaptedBlock, slot: str, where: tuple[int, int]) -> Folded:
    """Return the finite parameters that stand for a layer and the adapter of a slot, in the layer's own precision.

    Raises:
        ValueError: If there is no exact merge, or a value is not finite; the message names block, slot and tensor.
    """
    place = f'stage {where[0]}, block {where[1]}, adapter at {slot!r}'
    for name, parameter in block.adapters[slot].named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(
                f'{place}: {name} holds NaN or infinite values; train again, or take an earlier checkpoint'
            )
    narrow: Folded = {}
    for (module, name), value in merged_tensors(block, slot).items():
        narrow[module, name] = value.to(module._parameters[name].dtype)  # type: ignore[union-attr]
        if not narrow[module, name].isfinite().all():
            raise ValueError(
                f'{place}: folded in, {name} of {type(module).__name__} holds NaN or infinite values (in {narrow[module, name].dtype}); merge in a '
                'wider type, and look at the base and the adapter'
            )
    return narrow


@torch.no_grad()
def merged_tensors(block: AdaptedBlock, slot: str) -> Folded:
    """Return what parameters become when the adapter of a slot is folded in, in float64: half precision would lose what the merge must keep.

    Raises:
        ValueError: If there is no exact merge.
    """
    branch, _, place = slot.partition('_')
    adapter: Any = copy.deepcopy(block.adapters[slot]).double()
    at_layer = isinstance(adapter, LayerAdapter)
    linear = block.layers()[slot] if at_layer else block.input_linear(branch)
    old_bias = None if linear.bias is None else linear.bias.double()
    weight, bias = adapter.merged(linear.weight.double(), old_bias)
    if at_layer:
        tensors = {(linear.module, linear.weight_name): weight, (linear.module, linear.bias_name): bias}
        return {owner: tensor for owner, tensor in tensors.items() if tensor is not None}
    if place != 'input':
        raise ValueError(f'adapter.type: {type(adapter).__name__} at {slot!r} has no linear layer to merge into')
    new_weight = {(linear.module, linear.weight_name): weight}
    if old_bias is not None and branch not in block.padded_branches:
        return {**new_weight, (linear.module, linear.bias_name): bias}
    norm = block.norm(branch)
    shift = shift_before(weight, bias if old_bias is None else bias - old_bias)
    return {**new_weight, (norm, 'bias'): norm.bias.double() + shift}


def shift_before(weight: Tensor, shift: Tensor) -> Tensor:
    """Return the input shift d, (C,) in float64, for which `weight @ d` is the given output shift, (out,).

    Raises:
        ValueError: If there is none.
    """
    if not (weight.isfinite().all() and shift.isfinite().all()):
        raise ValueError('adapter: what it makes of the layer after it holds NaN or infinite values')
    wide, target = weight.double(), shift.double()
    found = torch.linalg.lstsq(wide, target[:, None]).solution[:, 0]
    if not (wide @ found - target).abs().max() <= 1e-6 * max(1.0, target.abs().max().item()):
        raise ValueError(
            'adapter: its bias cannot be merged exactly: no shift of the norm before it has the same effect'
        )
    return found
