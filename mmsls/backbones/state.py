"""What stands in a backbone's state dict, and what a checkpoint on a frozen base leaves out of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.backbones.base_weights import SHOWN
from mmsls.backbones.identity import EXTRA_STATE, kind_of

if TYPE_CHECKING:
    from mmsls.backbones.frozen_base import FrozenBase

State = MutableMapping[str, Any]


def complete(backbone: FrozenBase, state: State, prefix: str) -> None:
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
            f"{type(backbone).__name__}: {', '.join(lost[:SHOWN])} of this model is not the base's any more, this "
            f"checkpoint means the base's, and base_checkpoint={backbone.base_checkpoint!r} cannot be read again: load "
            'the checkpoint into a newly built model'
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


def say(backbone: FrozenBase, what: str, keys: Sequence[str], level: int = logging.WARNING) -> None:
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


def shape_of(value: Tensor | None) -> str | tuple[int, ...]:
    """Return a tensor's shape, or that there is none."""
    return 'absent' if value is None else tuple(value.shape)
