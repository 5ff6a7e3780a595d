"""Reading checkpoints without running any code that they may carry."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmsls.backbones.tensor_files import check_tensors, read_torch, reason_of
from mmsls.checkpoint.meta import MERGED_KEY, META_KEY, described
from mmsls.files.writing import whole_file


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
