"""What a backbone with a base writes into its state dict about itself: `_extra_state`, a uint8 tensor of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmsls.adapters.base import adapter_class
from mmsls.files.reading import parse_json

EXTRA_STATE = '_extra_state'
LARGEST = 1 << 20
"""Bytes of the largest identity that is read: names of all tensors of a large base are far below."""


def inference_cfg(cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the part of a normalised adapter config that changes what a loaded adapter computes."""
    if cfg is None:
        return None
    return {key: value for key, value in cfg.items() if key not in adapter_class(cfg).training_only}


def pack(identity: Mapping[str, Any]) -> Tensor:
    """Write a small JSON-able mapping as a uint8 tensor, the only form that passes MMEngine's checkpoint code, EMA and `weights_only`."""
    return torch.frombuffer(bytearray(json.dumps(identity, sort_keys=True).encode()), dtype=torch.uint8).clone()


def unpack(packed: object) -> dict[str, Any]:
    """Read what `pack` wrote.

    Returns:
        `base_sha256`, `kept_depths`, `adapter`, and `changed` where the checkpoint holds tensors of the base: their keys.

    Raises:
        ValueError: If it is anything else; the message names the field.
    """
    damaged = f'{EXTRA_STATE}: this checkpoint was not written by mmsls, or is damaged'
    if not isinstance(packed, Tensor) or packed.dim() != 1 or packed.numel() > LARGEST or packed.is_complex():
        raise ValueError(f'{damaged}: it is {kind_of(packed)}, not a row of bytes')
    try:
        content = parse_json(bytes(packed.cpu().to(torch.uint8).tolist()).decode())
    except ValueError as error:
        raise ValueError(f'{damaged} ({error})') from error
    wrong = 'base_sha256, kept_depths or adapter' if not isinstance(content, dict) else wrong_field(content)
    if wrong:
        raise ValueError(f'{damaged}: {str(content)[:100]!r} lacks {wrong}, or has it of a wrong type')
    return content


def wrong_field(content: Mapping[str, Any]) -> str:
    """Return the first field that is missing or of a wrong type, or an empty string."""
    depths, changed = content.get('kept_depths'), content.get('changed', [])
    fine = {
        'base_sha256': isinstance(content.get('base_sha256'), str),
        'kept_depths': isinstance(depths, list) and all(type(depth) is int and depth >= 0 for depth in depths),
        'adapter': isinstance(content.get('adapter', ''), dict | type(None)),
        'changed': isinstance(changed, list) and all(isinstance(key, str) for key in changed),
    }
    return next((name for name, right in fine.items() if not right), '')


def kind_of(value: object) -> str:
    """Say in a few words what stands where a tensor of bytes should."""
    return f'a tensor {tuple(value.shape)} of {value.dtype}' if isinstance(value, Tensor) else type(value).__name__
