"""What of a task is stored: all but the base."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from mmsls.backbones.identity import EXTRA_STATE, pack_identity
from mmsls.checkpoint.meta import META_KEY, describe, frozen_backbones
from mmsls.files.plain import plain

STATES = {'state_dict': '', 'ema_state_dict': 'module.'}
"""State dicts of a checkpoint, and the prefix of their keys."""
States = Sequence[tuple[MutableMapping[str, Any], str]]


def base_keys(model: nn.Module) -> set[str]:
    """Return the state-dict keys that come from base files, which no task stores.

    What is stored is decided by structure and value: all outside a frozen backbone; inside one, adapters, output norms,
    what has a gradient, and whatever is not the base's any more.
    """
    keys: set[str] = set()
    for name, backbone in frozen_backbones(model):
        prefix = f'{name}.' if name else ''
        keys |= {prefix + key for key in set(backbone.state_dict()) - set(backbone.stored_keys())}
    return keys


def slim(model: nn.Module, checkpoint: MutableMapping[str, Any]) -> dict[str, int]:
    """Take the base out of an MMEngine checkpoint and describe it in `meta`, in place; the rest becomes plain data.

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
                named = replace(backbone.foundation(), changed=tuple(sorted(found[name])))
                state[outer + inner + EXTRA_STATE] = pack_identity(named)
    return found
