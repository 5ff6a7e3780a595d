"""What of a checkpoint enters a backbone with a frozen base: a task's tensors, or those of a plain checkpoint on the same base."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.backbones.base_weights import SHOWN
from mmsls.backbones.identity import EXTRA_STATE, inference_cfg, kind_of

if TYPE_CHECKING:
    from mmsls.backbones.base import PrunedBackbone

State = MutableMapping[str, Any]


def check_identity(backbone: PrunedBackbone, theirs: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another base, another adapter, or fewer blocks.

    Raises:
        ValueError: Naming the argument and both values.
    """
    if theirs['base_sha256'] != backbone.base_sha256:
        raise ValueError(
            f'base_checkpoint: this checkpoint was trained on a base with sha256 {theirs["base_sha256"]}, '
            f'{backbone.base_checkpoint!r} has {backbone.base_sha256}'
        )
    if inference_cfg(theirs['adapter']) != inference_cfg(backbone.adapter_cfg):
        raise ValueError(f'adapter: this checkpoint holds {theirs["adapter"]}, the model has {backbone.adapter_cfg}')
    kept = theirs['kept_depths']
    if len(kept) != len(backbone.kept_depths):
        raise ValueError(
            f'kept_depths: this checkpoint holds {tuple(kept)[:12]}, {len(kept)} stages; the model has {len(backbone.kept_depths)} stages'
        )
    if any(ours > stored for ours, stored in zip(backbone.kept_depths, kept, strict=True)):
        raise ValueError(
            f"kept_depths: this checkpoint holds {tuple(kept)} blocks per stage, fewer than the model's {backbone.kept_depths}"
        )


def take_task(backbone: PrunedBackbone, state: State, prefix: str, theirs: Mapping[str, Any]) -> None:
    """Make a task's checkpoint a whole state dict of the backbone, in place.

    What it holds is used, tensors of the base included; what it leaves out of the base comes from the base.

    Args:
        backbone: On its base.
        state: What is being loaded.
        prefix: Where the backbone stands in it.
        theirs: Its identity.

    Raises:
        ValueError: If it is of another base, adapter or depth, or a tensor is missing, left over or misshapen; the first ones are named.
    """
    check_identity(backbone, theirs)
    check_tensors(backbone, state, prefix)
    drop_removed(backbone, state, prefix)
    refit(backbone, state, prefix)
    own = tensors_of(backbone)
    surplus = [key for key in keys_under(state, prefix) if key not in own]
    idle = {key for key in surplus if backbone.is_computed(key)}
    for key in idle:
        del state[prefix + key]
    refuse('holds tensors that the model lacks', backbone, [key for key in surplus if key not in idle])
    check_brings_base(backbone, state, prefix, own)
    changed = [key for key in theirs.get('changed', []) if not backbone.is_removed(key)]
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


def take_plain(
    backbone: PrunedBackbone, state: State, prefix: str, missing: MutableSequence[str], unexpected: Collection[str]
) -> None:
    """Let a checkpoint that mmsls did not write bring heads, and output norms, to a backbone that stands on the same base; in place.

    Args:
        backbone: On its base.
        state: What is being loaded.
        prefix: Where the backbone stands in it.
        missing: Gets the identity's key, so that a strict loader refuses what does not name its base.
        unexpected: Keys of the checkpoint that the model has no place for, as far as the loader knows.

    Raises:
        ValueError: If it holds another backbone, or adapters that nothing says the base of.
    """
    check_tensors(backbone, state, prefix)
    theirs = {key: state[prefix + key] for key in keys_under(state, prefix)}
    refuse_nameless_task(backbone, theirs, prefix, unexpected)
    own, norms = tensors_of(backbone), tuple(f'{norm}.' for norm in backbone.output_norms())
    taken = {key: value for key, value in theirs.items() if key in own and key.startswith(norms)}
    try:
        base = backbone.as_base({key: value for key, value in theirs.items() if key not in taken})
    except RuntimeError as error:  # translating keys of another style reshapes tensors
        raise ValueError(f'this checkpoint holds a backbone of another kind ({error})') from error
    base = {key: value for key, value in base.items() if key not in own or key in backbone.base_record}
    check_same_backbone(backbone, {**base, **taken}, own)
    for key in set(theirs) - set(taken):
        del state[prefix + key]
    complete(backbone, state, prefix)
    missing.append(prefix + EXTRA_STATE)
    say_plain(backbone, len(base), len(taken))


def refuse_nameless_task(
    backbone: PrunedBackbone, theirs: Mapping[str, Tensor], prefix: str, unexpected: Collection[str]
) -> None:
    """Refuse a task whose identity is gone or stands elsewhere, and any checkpoint where the model awaits its base.

    Raises:
        ValueError: Naming what is there and what to do.
    """
    elsewhere = None if theirs else moved_to(backbone, unexpected)
    if elsewhere is not None:
        raise ValueError(
            f'this checkpoint holds its frozen backbone at {elsewhere!r}, the model at {prefix!r}: rename the keys of its state_dict '
            f'(revise_keys of the loader: [(r"^{elsewhere}", "{prefix}")]), or load it into the model that it was trained in'
        )
    adapters = adapter_keys(backbone)
    found = [key for key in theirs if key in adapters or '.adapters.' in key]
    if found:
        raise ValueError(
            f'this checkpoint holds adapters ({", ".join(found[:SHOWN])}), but {prefix}{EXTRA_STATE}, which names the base it was trained on, was '
            'taken out: load the file as SlimCheckpointHook wrote it'
        )
    if backbone.awaits_base:
        raise ValueError(
            f'base_checkpoint={backbone.base_checkpoint!r} names no file, and this checkpoint does not name the base it was trained on: '
            'set base_checkpoint to the file, or load the full checkpoint first'
        )


def say_plain(backbone: PrunedBackbone, base: int, norms: int) -> None:
    """Say in one line what a plain checkpoint brought to the backbone, and what it did not."""
    adapters = len(adapter_keys(backbone))
    holds = f'has the backbone of the base ({base} tensors)' if base else 'holds nothing of the base'
    begins = f'; its {adapters} adapter tensors are not in it and stay as they are, new unless loaded before'
    print_log(
        f'{type(backbone).__name__}: this checkpoint, which mmsls did not write, {holds} and brings {norms} tensors of output norms'
        + (begins if adapters else ''),
        'current',
        logging.WARNING if adapters else logging.INFO,
    )


def check_same_backbone(backbone: PrunedBackbone, theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse a plain backbone that is not the frozen base.

    Raises:
        ValueError: Naming the first tensors, and what to do.
    """
    mend = (
        f'base_checkpoint={backbone.base_checkpoint!r} is frozen, and nothing of another backbone can be loaded into it. '
        "Name that same file as base_checkpoint too, load its neck and head alone (a checkpoint without the backbone's keys, or "
        "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='neck.') of the neck), or set base_checkpoint=None to train or test it as a whole"
    )
    unfit = [
        f'{key} {shape_of(value)}, in the model {shape_of(own.get(key))}'
        for key, value in theirs.items()
        if shape_of(value) != shape_of(own.get(key))
    ]
    if unfit:
        raise ValueError(
            f'this checkpoint does not name the base it was trained on, and its backbone is of another width, depth or kind: '
            f'{"; ".join(unfit[:SHOWN])}. {mend}'
        )
    other = [key for key, value in theirs.items() if key in backbone.base_record and not backbone.is_base(key, value)]
    if other:
        raise ValueError(
            f'this checkpoint does not name the base it was trained on, and its backbone is not that base: {len(other)} of {len(theirs)} tensors '
            f'differ, the first is {other[0]}. {mend}'
        )


def complete(backbone: PrunedBackbone, state: State, prefix: str) -> None:
    """Put in what a checkpoint leaves out of the base; a tensor that was changed in the model becomes the base's again.

    Raises:
        ValueError: If such a tensor can't be read again.
    """
    own = tensors_of(backbone)
    absent = [key for key in backbone.base_record if key in own and prefix + key not in state]
    strayed = [key for key in absent if not backbone.is_base(key, own[key])]
    base = backbone.read_base_again() if strayed else {}
    lost = [key for key in strayed if key not in base]
    if lost:
        raise ValueError(
            f"{type(backbone).__name__}: {', '.join(lost[:SHOWN])} of this model is not the base's any more, this checkpoint means the base's, and "
            f'base_checkpoint={backbone.base_checkpoint!r} cannot be read again: load the checkpoint into a newly built model'
        )
    for key in absent:
        state[prefix + key] = base[key].to(own[key].dtype) if key in strayed else own[key]
    unfrozen = sorted(backbone.unfrozen().intersection(absent))
    say(
        backbone,
        "tensors had been changed in the model and are the base's again, as the checkpoint means them",
        strayed,
    )
    say(
        backbone, 'tensors are trained here and not in the checkpoint: they start from the base', unfrozen, logging.INFO
    )


def check_brings_base(backbone: PrunedBackbone, state: State, prefix: str, own: Collection[str]) -> None:
    """See that a full checkpoint brings the whole base along, where the model has no file of it.

    Raises:
        ValueError: If it does not.
    """
    missing = [key for key in own if prefix + key not in state] if backbone.awaits_base else []
    if missing:
        raise ValueError(
            f'base_checkpoint={backbone.base_checkpoint!r} names no file, and this checkpoint does not hold the base '
            f'({", ".join(missing[:SHOWN])} missing): set base_checkpoint to the file, or load the full checkpoint first'
        )


def refit(backbone: PrunedBackbone, state: State, prefix: str) -> None:
    """Fit tensors of the base that were stored at another image or window size, as the base itself is fitted; in place."""
    own = tensors_of(backbone)
    other = {
        key: state[prefix + key]
        for key in keys_under(state, prefix)
        if key in backbone.base_record and key in own and state[prefix + key].shape != own[key].shape
    }
    if not other:
        return
    fitted = backbone.as_base(other)
    for key in other:
        if key in fitted:
            state[prefix + key] = fitted[key]
        elif backbone.is_computed(key):
            del state[prefix + key]


def drop_removed(backbone: PrunedBackbone, state: State, prefix: str) -> None:
    """Drop what belongs to blocks that were pruned here."""
    removed = [key for key in keys_under(state, prefix) if backbone.is_removed(key)]
    for key in removed:
        del state[prefix + key]
    if removed:
        print_log(
            f'{type(backbone).__name__}: dropped {len(removed)} tensors of pruned blocks from the checkpoint', 'current'
        )


def say(backbone: PrunedBackbone, what: str, keys: Sequence[str], level: int = logging.WARNING) -> None:
    """Log a count and the first names, if there is anything to say."""
    if keys:
        more = ', ...' if len(keys) > SHOWN else ''
        print_log(f'{type(backbone).__name__}: {len(keys)} {what}: {", ".join(keys[:SHOWN])}{more}', 'current', level)


def refuse(what: str, backbone: nn.Module, problems: Sequence[str]) -> None:
    """Raise a ValueError that names the first problems, if there are any."""
    if problems:
        more = f' and {len(problems) - SHOWN} more' if len(problems) > SHOWN else ''
        raise ValueError(f'this checkpoint {what} of {type(backbone).__name__}: {"; ".join(problems[:SHOWN])}{more}')


def check_tensors(backbone: nn.Module, state: State, prefix: str) -> None:
    """Refuse what is no tensor: MMEngine's loader ends in a traceback there."""
    wrong = [
        f'{key} is {kind_of(state[prefix + key])}'
        for key in keys_under(state, prefix)
        if not isinstance(state[prefix + key], Tensor)
    ]
    refuse('is damaged, not every entry is a tensor', backbone, wrong)


def keys_under(state: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the keys below a prefix, without it."""
    return [key[len(prefix) :] for key in state if key.startswith(prefix)]


def tensors_of(backbone: nn.Module) -> dict[str, Tensor]:
    """Return a backbone's state dict without its identity."""
    return {key: value for key, value in nn.Module.state_dict(backbone).items() if key != EXTRA_STATE}


def adapter_keys(backbone: nn.Module) -> set[str]:
    """Return the state-dict keys of adapters, which are modules of their own."""
    names = tuple(f'{name}.' for name, module in backbone.named_modules() if isinstance(module, Adapter))
    return {key for key in tensors_of(backbone) if key.startswith(names)}


def moved_to(backbone: nn.Module, unexpected: Iterable[str]) -> str | None:
    """Return under which prefix a checkpoint holds this kind of backbone where the model has no place for it, or None."""
    keys = set(unexpected)
    own = tensors_of(backbone)
    stems = [key.removesuffix(EXTRA_STATE) for key in keys if key.endswith(EXTRA_STATE)]
    return next((stem for stem in sorted(stems) if any(stem + key in keys for key in own)), None)


def shape_of(value: Tensor | None) -> str | tuple[int, ...]:
    """Return a tensor's shape, or that there is none."""
    return 'absent' if value is None else tuple(value.shape)
