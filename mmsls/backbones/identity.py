"""What a backbone with a base writes into its state dict about itself: `_extra_state`, a uint8 tensor of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmsls.adapters.base import adapter_class

EXTRA_STATE = '_extra_state'
IDENTITY_KEYS = frozenset({'base_sha256', 'kept_depths', 'adapter'})


def inference_cfg(cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the part of a normalised adapter config that changes what a loaded adapter computes."""
    if cfg is None:
        return None
    return {key: value for key, value in cfg.items() if key not in adapter_class(cfg).training_only}


def pack(identity: Mapping[str, Any]) -> Tensor:
    """Write a small JSON-able mapping as a uint8 tensor, the only form that passes MMEngine's checkpoint code, EMA and `weights_only`."""
    return torch.frombuffer(bytearray(json.dumps(identity, sort_keys=True).encode()), dtype=torch.uint8).clone()


def unpack(packed: Tensor) -> dict[str, Any]:
    """Read what `pack` wrote.

    Raises:
        ValueError: If the tensor holds something else.
    """
    try:
        content = json.loads(bytes(packed.cpu().to(torch.uint8).tolist()))
    except ValueError as error:
        raise ValueError(f'{EXTRA_STATE}: this checkpoint was not written by mmsls, or is damaged ({error})') from error
    if not isinstance(content, dict) or not set(content).issuperset(IDENTITY_KEYS):
        raise ValueError(
            f'{EXTRA_STATE}: this checkpoint was not written by mmsls, or is damaged: {str(content)[:100]!r} lacks {sorted(IDENTITY_KEYS)}'
        )
    return content
