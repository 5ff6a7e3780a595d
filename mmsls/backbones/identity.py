"""What a backbone with a base writes into its state dict about itself: `_extra_state`, a uint8 tensor of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmsls.adapters.base import adapter_class
from mmsls.files.reading import parse_json
from mmsls.pruning_index.foundation import IDENTITY, Foundation

EXTRA_STATE = '_extra_state'
DAMAGED = f'{EXTRA_STATE}: this checkpoint was not written by mmsls, or is damaged'
LARGEST = 1 << 20
"""Bytes of the largest identity that is read: names of all tensors of a large base are far below."""


def inference_cfg(cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the part of a normalised adapter config that changes what a loaded adapter computes."""
    if cfg is None:
        return None
    return {key: value for key, value in cfg.items() if key not in adapter_class(cfg).training_only}


def pack(identity: Mapping[str, Any]) -> Tensor:
    """Write a small JSON-able mapping as a uint8 tensor.

    Only that form passes MMEngine's checkpoint code, EMA and `weights_only`.
    """
    return torch.frombuffer(bytearray(json.dumps(identity, sort_keys=True).encode()), dtype=torch.uint8).clone()


def pack_identity(foundation: Foundation) -> Tensor:
    """Write what a checkpoint says of a backbone, with the tensors of the base that it holds, if any."""
    return pack(foundation.as_dict(IDENTITY))


def unpack(packed: object) -> dict[str, Any]:
    """Read the mapping that `pack` wrote; what it holds is not checked.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(packed, Tensor) or packed.dim() != 1 or packed.numel() > LARGEST or packed.is_complex():
        raise ValueError(f'{DAMAGED}: it is {kind_of(packed)}, not a row of bytes')
    try:
        content = parse_json(bytes(packed.cpu().to(torch.uint8).tolist()).decode())
    except ValueError as error:
        raise ValueError(f'{DAMAGED} ({error})') from error
    if not isinstance(content, dict):
        raise ValueError(f'{DAMAGED}: it holds {str(content)[:100]!r}, no mapping')
    return content


def unpack_identity(packed: object) -> Foundation:
    """Read what `pack_identity` wrote.

    That is: base, kept depths, adapter, the keys of tensors of the base that the checkpoint holds, and whether bridges
    stand in for removed blocks.

    Raises:
        ValueError: If it is anything else; the message names the field.
    """
    content = unpack(packed)
    try:
        return Foundation.of(content, IDENTITY, EXTRA_STATE)
    except ValueError as error:
        raise ValueError(f'{DAMAGED} ({error})') from error


def kind_of(value: object) -> str:
    """Say in a few words what stands where a tensor of bytes should."""
    return f'a tensor {tuple(value.shape)} of {value.dtype}' if isinstance(value, Tensor) else type(value).__name__
