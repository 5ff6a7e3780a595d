"""What of a task's checkpoint enters a backbone with a frozen base."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mmengine.logging import print_log

from mmsls.backbones.base_weights import SHOWN
from mmsls.backbones.identity import inference_cfg
from mmsls.backbones.state import State, check_tensors, complete, keys_under, refuse, say, shape_of, tensors_of
from mmsls.pruning_index.foundation import Foundation

if TYPE_CHECKING:
    from mmsls.backbones.frozen_base import FrozenBase


def check_identity(backbone: FrozenBase, theirs: Foundation) -> None:
    """Refuse a checkpoint of another base, another adapter, or fewer blocks.

    Raises:
        ValueError: Naming the argument and both values.
    """
    if theirs.base_sha256 != backbone.base_sha256:
        raise ValueError(
            f'base_checkpoint: this checkpoint was trained on a base with sha256 {theirs.base_sha256}, '
            f'{backbone.base_checkpoint!r} has {backbone.base_sha256}'
        )
    if inference_cfg(theirs.adapter) != inference_cfg(backbone.adapter_cfg):
        raise ValueError(f'adapter: this checkpoint holds {theirs.adapter}, the model has {backbone.adapter_cfg}')
    kept = theirs.kept_depths
    if len(kept) != len(backbone.kept_depths):
        raise ValueError(
            f'kept_depths: this checkpoint holds {kept[:12]}, {len(kept)} stages; the model has '
            f'{len(backbone.kept_depths)} stages'
        )
    if any(ours > stored for ours, stored in zip(backbone.kept_depths, kept, strict=True)):
        raise ValueError(
            f"kept_depths: this checkpoint holds {kept} blocks per stage, fewer than the model's {backbone.kept_depths}"
        )
    stored_numbers = theirs.numbers()
    lacking = [(stage, block) for stage, block in backbone.kept_blocks if block not in stored_numbers[stage]]
    if lacking:
        raise ValueError(
            f'kept_blocks: this checkpoint does not hold block {lacking[0]}, which the model keeps; it holds '
            f'{theirs.kept_blocks or theirs.kept_depths}, the model {backbone.subset or backbone.kept_depths}'
        )
    if theirs.bridge and (theirs.bridge != backbone.bridge or kept != backbone.kept_depths):
        raise ValueError(
            f'bridge: this checkpoint has bridge={theirs.bridge} above kept_depths {kept}, the model has '
            f'bridge={backbone.bridge} at {backbone.kept_depths}: set the same at those depths, or fit a bridge of '
            'its own from the unbridged checkpoint'
        )


def take_task(backbone: FrozenBase, state: State, prefix: str, theirs: Foundation) -> list[str]:
    """Make a task's checkpoint a whole state dict of the backbone, in place.

    What it holds is used, tensors of the base included; what it leaves out of the base comes from the base.

    Args:
        backbone: On its base.
        state: What is being loaded.
        prefix: Where the backbone stands in it.
        theirs: Its identity.

    Returns:
        The keys, without prefix, of tensors of the base that the task changed.

    Raises:
        ValueError: If it is of another base, adapter or depth, or a tensor is missing, left over or misshapen; the
            first ones are named.
    """
    check_identity(backbone, theirs)
    check_tensors(backbone, state, prefix)
    renumber(backbone, state, prefix, theirs.numbers())
    refit(backbone, state, prefix)
    own = tensors_of(backbone)
    surplus = [key for key in keys_under(state, prefix) if key not in own]
    idle = {key for key in surplus if backbone.is_computed(key)}
    for key in idle:
        del state[prefix + key]
    refuse('holds tensors that the model lacks', backbone, [key for key in surplus if key not in idle])
    check_brings_base(backbone, state, prefix, own)
    if backbone.bridge and not theirs.bridge:
        begin_bridges(backbone, state, prefix)
    found = [backbone.key_here(key, theirs.numbers()) for key in theirs.changed]
    changed = [key for key in found if key is not None]
    needed = [key for key in own if key not in backbone.base_record or key in backbone.selected]
    refuse(
        'lacks trained tensors',
        backbone,
        [
            f'{key}: {shape_of(state.get(prefix + key))}, needed {shape_of(own.get(key))}'
            for key in dict.fromkeys([*needed, *changed, *own])
            if (prefix + key in state or key in needed or key in changed)
            and shape_of(state.get(prefix + key)) != shape_of(own.get(key))
        ],
    )
    given = [key for key in backbone.base_record if prefix + key in state and key not in backbone.selected]
    complete(backbone, state, prefix)
    other = [key for key in given if not backbone.is_base(key, state[prefix + key])]
    say(backbone, 'tensors of the base were changed in this checkpoint and are used', other)
    return changed


def check_brings_base(backbone: FrozenBase, state: State, prefix: str, own: Collection[str]) -> None:
    """See that a full checkpoint brings the whole base along, where the model has no file of it.

    Raises:
        ValueError: If it does not.
    """
    missing = [key for key in own if prefix + key not in state] if backbone.awaits_base else []
    if missing:
        raise ValueError(
            f'base_checkpoint={backbone.base_checkpoint!r} names no file, and this checkpoint does not hold the base '
            f'({", ".join(missing[:SHOWN])} missing): set base_checkpoint to the file, or load the full checkpoint '
            'first'
        )


def begin_bridges(backbone: FrozenBase, state: State, prefix: str) -> None:
    """Let bridges that a checkpoint knows nothing of change nothing, in place."""
    new = [f'{name}.{key}' for name, bridge in backbone.bridges().items() for key in bridge.state_dict()]
    for bridge in backbone.bridges().values():
        bridge.reset()
    own = tensors_of(backbone)
    for key in new:
        state[prefix + key] = own[key].detach().clone()
    say(backbone, 'tensors of bridges are not in this checkpoint and change nothing: fit them (mmsls bridge)', new)


def refit(backbone: FrozenBase, state: State, prefix: str) -> None:
    """Fit tensors of the base that were stored at another image or window size, as the base is fitted; in place."""
    own = tensors_of(backbone)
    other = {
        key: state[prefix + key]
        for key in keys_under(state, prefix)
        if key in backbone.base_record and key in own and state[prefix + key].shape != own[key].shape
    }
    if not other:
        return
    fitted = backbone.as_base(other, backbone.kept_numbers())
    for key in other:
        if key in fitted:
            state[prefix + key] = fitted[key]
        elif backbone.is_computed(key):
            del state[prefix + key]


def renumber(backbone: FrozenBase, state: State, prefix: str, numbers: Sequence[Sequence[int]]) -> None:
    """Bring blocks under their numbers here, in place, and drop what belongs to blocks that were pruned here.

    Args:
        backbone: Where the state shall go.
        state: What is being loaded.
        prefix: Where the backbone stands in it.
        numbers: The numbers, at full depth, of the blocks that every stage of the state keeps.
    """
    theirs = keys_under(state, prefix)
    here = backbone.tensors_here({key: state[prefix + key] for key in theirs}, numbers)
    if list(here) == theirs:
        return
    for key in theirs:
        del state[prefix + key]
    state.update({prefix + key: value for key, value in here.items()})
    if len(here) < len(theirs):
        removed = len(theirs) - len(here)
        print_log(
            f'{type(backbone).__name__}: dropped {removed} tensors of pruned blocks from the checkpoint', 'current'
        )
