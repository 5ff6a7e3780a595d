"""Adapters folded into the layers of their blocks."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.backbones.adapted_layers import forget
from mmsls.backbones.blocks import AdaptedBlock

Folded = dict[tuple[nn.Module, str], Tensor]
"""What parameters, by module and name, become when an adapter is folded in."""


def merge_blocks(blocks: Iterable[tuple[tuple[int, int], nn.Module]]) -> None:
    """Fold the adapters of all blocks, or none, into the layers that they sit at or that follow them; in place.

    A branch that pads its input with zeros (`padded_branches`) must not see its linear layer's bias change, or the
    padding would, and a layer without a bias must not get one, or the base would no longer fit the host: there the
    shift goes into the norm before the adapter.

    Args:
        blocks: `(stage, block)` and the block; those without adapters stay as they are.

    Raises:
        ValueError: If an adapter has no exact merge, or it, or what it makes of a layer, is not finite; nothing is
            changed then.
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
                f'{place}: folded in, {name} of {type(module).__name__} holds NaN or infinite values (in '
                f'{narrow[module, name].dtype}); merge in a wider type, and look at the base and the adapter'
            )
    return narrow


@torch.no_grad()
def merged_tensors(block: AdaptedBlock, slot: str) -> Folded:
    """Return what parameters become when the adapter of a slot is folded in.

    They are in float64: half precision would lose what the merge must keep.

    Raises:
        ValueError: If there is no exact merge.
    """
    branch, _, place = slot.partition('_')
    adapter: Any = copy.deepcopy(block.adapters[slot]).double()
    at_layer = isinstance(adapter, LayerAdapter)
    linears = [block.layers()[slot]] if at_layer else block.input_linears(branch)
    biases = [linear.bias for linear in linears]
    whole = torch.cat([linear.weight.double() for linear in linears])
    has_bias = all(bias is not None for bias in biases)
    old_bias = torch.cat([bias.double() for bias in biases if bias is not None]) if has_bias else None
    weight, bias = adapter.merged(whole, old_bias)
    rows = [len(linear.weight) for linear in linears]
    tensors = {(part.module, part.weight_name): piece for part, piece in zip(linears, weight.split(rows), strict=True)}
    new_bias = (
        {}
        if bias is None
        else {(part.module, part.bias_name): piece for part, piece in zip(linears, bias.split(rows), strict=True)}
    )
    if at_layer:
        return {**tensors, **new_bias}
    if place != 'input':
        raise ValueError(f'adapter.type: {type(adapter).__name__} at {slot!r} has no linear layer to merge into')
    if has_bias and branch not in block.padded_branches:
        return {**tensors, **new_bias}
    norm = block.norm(branch)
    if getattr(norm, 'bias', None) is None:
        raise ValueError(
            f'adapter: its bias cannot be merged exactly: neither the layer after {slot!r} nor a norm before it has a '
            'bias that could take it'
        )
    shift = shift_before(weight, bias if old_bias is None else bias - old_bias)
    return {**tensors, (norm, 'bias'): norm.bias.double() + shift}


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
