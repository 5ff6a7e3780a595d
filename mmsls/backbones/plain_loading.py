"""What of a plain checkpoint, one that mmsls did not write, enters a backbone that stands on the same frozen base."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, MutableSequence
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor, nn

from mmsls.backbones.base_weights import SHOWN
from mmsls.backbones.identity import EXTRA_STATE
from mmsls.backbones.state import State, adapter_keys, check_tensors, complete, keys_under, shape_of, tensors_of

if TYPE_CHECKING:
    from mmsls.backbones.frozen_base import FrozenBase


def take_plain(
    backbone: FrozenBase, state: State, prefix: str, missing: MutableSequence[str], unexpected: Collection[str]
) -> None:
    """Let a checkpoint that mmsls did not write bring heads and output norms to a backbone on its base; in place.

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
        plain = {key: value for key, value in theirs.items() if key not in taken}
        base = backbone.as_base(plain, backbone.numbers_in(backbone.base_keys(plain)))
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
    backbone: FrozenBase, theirs: Mapping[str, Tensor], prefix: str, unexpected: Collection[str]
) -> None:
    """Refuse a task whose identity is gone or stands elsewhere, and any checkpoint where the model awaits its base.

    Raises:
        ValueError: Naming what is there and what to do.
    """
    elsewhere = None if theirs else moved_to(backbone, unexpected)
    if elsewhere is not None:
        raise ValueError(
            f'this checkpoint holds its frozen backbone at {elsewhere!r}, the model at {prefix!r}: rename the keys of '
            f'its state_dict (revise_keys of the loader: [(r"^{elsewhere}", "{prefix}")]), or load it into the model '
            'that it was trained in'
        )
    adapters = adapter_keys(backbone)
    found = [key for key in theirs if key in adapters or '.adapters.' in key]
    if found:
        raise ValueError(
            f'this checkpoint holds adapters ({", ".join(found[:SHOWN])}), but {prefix}{EXTRA_STATE}, which names the '
            'base it was trained on, was taken out: load the file as SlimCheckpointHook wrote it'
        )
    if backbone.awaits_base:
        raise ValueError(
            f'base_checkpoint={backbone.base_checkpoint!r} names no file, and this checkpoint does not name the base '
            'it was trained on: set base_checkpoint to the file, or load the full checkpoint first'
        )


def check_same_backbone(backbone: FrozenBase, theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse a plain backbone that is not the frozen base.

    Raises:
        ValueError: Naming the first tensors, and what to do.
    """
    mend = (
        f'base_checkpoint={backbone.base_checkpoint!r} is frozen, and nothing of another backbone can be loaded into '
        'it. Name that same file as base_checkpoint too, load its neck and head alone (a checkpoint without the '
        "backbone's keys, or init_cfg=dict(type='Pretrained', checkpoint=..., prefix='neck.') of the neck), or set "
        'base_checkpoint=None to train or test it as a whole'
    )
    unfit = [
        f'{key} {shape_of(value)}, in the model {shape_of(own.get(key))}'
        for key, value in theirs.items()
        if shape_of(value) != shape_of(own.get(key))
    ]
    if unfit:
        raise ValueError(
            'this checkpoint does not name the base it was trained on, and its backbone is of another width, depth or '
            f'kind: {"; ".join(unfit[:SHOWN])}. {mend}'
        )
    other = [key for key, value in theirs.items() if key in backbone.base_record and not backbone.is_base(key, value)]
    if other:
        raise ValueError(
            'this checkpoint does not name the base it was trained on, and its backbone is not that base: '
            f'{len(other)} of {len(theirs)} tensors differ, the first is {other[0]}. {mend}'
        )


def say_plain(backbone: FrozenBase, base: int, norms: int) -> None:
    """Say in one line what a plain checkpoint brought to the backbone, and what it did not."""
    adapters = len(adapter_keys(backbone))
    holds = f'has the backbone of the base ({base} tensors)' if base else 'holds nothing of the base'
    begins = f'; its {adapters} adapter tensors are not in it and stay as they are, new unless loaded before'
    print_log(
        f'{type(backbone).__name__}: this checkpoint, which mmsls did not write, {holds} and brings {norms} tensors of '
        'output norms' + (begins if adapters else ''),
        'current',
        logging.WARNING if adapters else logging.INFO,
    )


def moved_to(backbone: nn.Module, unexpected: Iterable[str]) -> str | None:
    """Return the prefix under which a checkpoint holds such a backbone where the model has no place for it, or None."""
    keys = set(unexpected)
    own = tensors_of(backbone)
    stems = [key.removesuffix(EXTRA_STATE) for key in keys if key.endswith(EXTRA_STATE)]
    return next((stem for stem in sorted(stems) if any(stem + key in keys for key in own)), None)
