"""Slim checkpoints: what of a task is stored, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.identity import EXTRA_STATE, pack
from mmsls.backbones.tensor_files import check_tensors, read_torch, reason_of
from mmsls.files.plain import plain
from mmsls.files.writing import whole_file

META_KEY = 'mmsls'
MERGED_KEY = 'mmsls_merged'
"""Stands in `meta` of a full checkpoint whose adapters were merged (tools/merge.py)."""
META_VERSION = 1
STATES = {'state_dict': '', 'ema_state_dict': 'module.'}
"""State dicts of a checkpoint, and the prefix of their keys."""
States = Sequence[tuple[MutableMapping[str, Any], str]]


def frozen_backbones(model: nn.Module) -> Iterator[tuple[str, PrunedBackbone]]:
    """Yield (name, backbone) for every backbone of the model that stands on a frozen base."""
    for name, module in model.named_modules():
        if isinstance(module, PrunedBackbone) and module.base_sha256 is not None:
            yield name, module


def base_keys(model: nn.Module) -> set[str]:
    """Return the state-dict keys that come from base files, which no task stores.

    What is stored is decided by structure and value: all outside a frozen backbone; inside one, adapters, output norms, what has a gradient,
    and whatever is not the base's any more.
    """
    keys: set[str] = set()
    for name, backbone in frozen_backbones(model):
        prefix = f'{name}.' if name else ''
        keys |= {prefix + key for key in set(backbone.state_dict()) - set(backbone.stored_keys())}
    return keys


def slim(model: nn.Module, checkpoint: MutableMapping[str, Any]) -> dict[str, int]:
    """Take the base out of an MMEngine checkpoint and describe it in `meta`, in place; whatever else it holds becomes plain data.

    Args:
        model: The model (unwrapped) that the checkpoint was taken of.
        checkpoint: What MMEngine is about to write, EMA's state included.

    Returns:
        How many tensors of each frozen backbone's base are stored because they are not the base's any more, by name.
    """
    rest = plain({key: checkpoint.pop(key) for key in list(checkpoint) if key not in STATES}, 'checkpoint')
    checkpoint.update(rest, meta={**(rest.get('meta') or {}), META_KEY: describe(model)})
    states = [(checkpoint[key], prefix) for key, prefix in STATES.items() if key in checkpoint]
    for state, _ in states:
        odd = {key: state.pop(key) for key in [key for key, value in state.items() if not isinstance(value, Tensor)]}
        state.update(plain(odd, 'state_dict'))
    return slim_states(model, states)


def slim_states(model: nn.Module, states: States) -> dict[str, int]:
    """Take the base out of state dicts of one model, in place, and name in each identity what of the base stays in.

    Args:
        model: The (unwrapped) model.
        states: State dicts, each with the prefix of its keys.

    Returns:
        As `slim`.
    """
    stored = name_changed(model, states)
    for name, backbone in frozen_backbones(model):
        inner = f'{name}.' if name else ''
        left_out = set(backbone.base_record) - backbone.selected - stored[name]
        for state, outer in states:
            for key in left_out:
                state.pop(outer + inner + key, None)
    return {name: len(stored[name] - backbone.unfrozen()) for name, backbone in frozen_backbones(model)}


def name_changed(model: nn.Module, states: States) -> dict[str, set[str]]:
    """Write into each backbone's identity which tensors of its base are the task's, so that none can be lost later.

    All states get the same keys: EMAHook swaps its tensors with the model's one by one, and needs them in both.

    Returns:
        The keys by name of the backbone: what is not the base's any more, and what has a gradient.
    """
    found = {}
    for name, backbone in frozen_backbones(model):
        inner = f'{name}.' if name else ''
        kept = {key for state, outer in states for key in backbone.stored_keys(state, outer + inner)}
        found[name] = (kept & set(backbone.base_record)) - backbone.selected
        for state, outer in states:
            if found[name] and outer + inner + EXTRA_STATE in state:
                named = {**backbone.identity(), 'changed': sorted(found[name])}
                state[outer + inner + EXTRA_STATE] = pack(named)
    return found


def describe(model: nn.Module) -> dict[str, Any]:
    """Return what `meta` says of each frozen backbone: base, its SHA-256, adapter, depths."""
    backbones = {
        name: {
            'base_checkpoint': backbone.base_checkpoint,
            'base_sha256': backbone.base_sha256,
            'adapter': backbone.adapter_cfg,
            'depths': list(backbone.depths),
            'kept_depths': list(backbone.kept_depths),
        }
        for name, backbone in frozen_backbones(model)
    }
    return {'version': META_VERSION, 'backbones': backbones}


def described(checkpoint: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a checkpoint's `meta` says of each frozen backbone, empty where it says nothing.

    Raises:
        ValueError: If it says something that mmsls never wrote.
    """
    meta = checkpoint.get('meta')
    ours = meta.get(META_KEY) if isinstance(meta, Mapping) else None
    if ours is None:
        return {}
    found = ours.get('backbones') if isinstance(ours, Mapping) else None
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(of, Mapping) and isinstance(of.get('base_sha256'), str | type(None))
        for name, of in found.items()
    ):
        raise ValueError(
            f'checkpoint: meta[{META_KEY!r}] is {str(ours)[:100]!r}; it was not written by mmsls, or is damaged: save the checkpoint again'
        )
    return {name: dict(of) for name, of in found.items()}


def check_has_base(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a slim checkpoint where nothing else brings its base along; MMEngine would go on with a random one.

    Where in the model the base stands is no matter here: wrappers and teachers move it, and the backbone itself checks what it is given.

    Raises:
        ValueError: If a backbone that the checkpoint left the base out of has none in the model, anywhere.
    """
    ours = dict(frozen_backbones(model))
    bases = {backbone.base_sha256 for backbone in ours.values()}
    for name, of in described(checkpoint).items():
        if name not in ours and of.get('base_sha256') not in bases:
            found = type(model.get_submodule(name)).__name__ if name in dict(model.named_modules()) else 'nothing'
            raise ValueError(
                f'load_from: this slim checkpoint leaves the base of model.{name} out ({of.get("base_checkpoint")}), and the model has '
                f'{found} without one there: set its type, base_checkpoint and adapter as in the training config'
            )


def check_resume(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Refuse to resume a run at other depths: optimizer state and schedule belong to the blocks it had.

    Raises:
        ValueError: If a backbone's kept depths differ from the checkpoint's.
    """
    stored = described(checkpoint)
    for name, backbone in frozen_backbones(model):
        theirs = stored.get(name, {}).get('kept_depths')
        if theirs is not None and theirs != list(backbone.kept_depths):
            shown = tuple(theirs) if isinstance(theirs, list) else theirs
            raise ValueError(
                f'resume: the checkpoint was saved with kept_depths {shown}, the model has {backbone.kept_depths}; '
                'to go on from its weights at other depths use load_from instead of resume'
            )


def restore_history(message_hub: object) -> None:
    """Turn the log scalars of a slim checkpoint back into HistoryBuffers, in place, for resuming.

    Raises:
        ValueError: If one is neither a history nor what `plain` made of it.
    """
    scalars = message_hub.get('log_scalars', {}) if isinstance(message_hub, Mapping) else None
    if not isinstance(scalars, MutableMapping):
        raise ValueError(
            'checkpoint: message_hub holds no log_scalars by name; the file was not written by MMEngine, or is damaged'
        )
    for name, value in scalars.items():
        if isinstance(value, Mapping):
            try:
                scalars[name] = HistoryBuffer(value['history'], value['count'], value['max_length'])
            except (KeyError, TypeError, ValueError, AssertionError) as error:
                raise ValueError(
                    f'checkpoint: message_hub.log_scalars[{name!r}] is no history of a value ({error!r})'
                ) from error


def read_slim(path: str | Path) -> dict[str, Any]:
    """Read a slim checkpoint without running any code that it may carry.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of tensors and plain data, holds a whole model, or was merged before.
    """
    content = read_checkpoint(path)
    if MERGED_KEY in content['meta']:
        raise ValueError(f'checkpoint: {str(path)!r} was merged before; the config.py beside it builds its model')
    if META_KEY not in content['meta']:
        raise ValueError(
            f'checkpoint: {str(path)!r} is no slim checkpoint: train with SlimCheckpointHook on a frozen base'
        )
    try:
        described(content)
    except ValueError as error:
        raise ValueError(f'checkpoint: {str(path)!r}: {error}') from error
    return content


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read an MMEngine checkpoint of tensors and plain data, without running any code that it may carry.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'checkpoint: no file at {str(path)!r}')
    try:
        content = read_torch(path)
        meta, state = content['meta'], content['state_dict']
        if isinstance(state, Mapping):
            check_tensors({key: item for key, item in state.items() if isinstance(item, Tensor)})
    except Exception as error:  # any bytes may stand in the file, and the unpickler fails on them in as many ways
        raise ValueError(
            f'checkpoint: {str(path)!r} is no checkpoint of tensors and plain data ({reason_of(error)})'
        ) from error
    keys = [key for key in state if not isinstance(key, str)] if isinstance(state, Mapping) else [state]
    if not isinstance(meta, Mapping) or keys:
        raise ValueError(f'checkpoint: {str(path)!r} is no checkpoint: its meta or state_dict is no mapping of names')
    return content


def strip_training_state(path: str | Path, out: str | Path) -> None:
    """Write a checkpoint's weights and `meta` alone, without optimizer, schedule, log history and EMA's twin.

    Args:
        path: A checkpoint of a run.
        out: Where the small one goes; written at once or not at all.
    """
    checkpoint = read_checkpoint(path)
    with whole_file(out) as partial, partial.open('wb') as file:
        torch.save({'meta': checkpoint['meta'], 'state_dict': checkpoint['state_dict']}, file)
