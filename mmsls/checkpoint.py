"""Slim checkpoints: what of a task is stored, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.tensor_files import check_tensors, read_torch, reason_of
from mmsls.files.writing import whole_file

META_KEY = 'mmsls'
MERGED_KEY = 'mmsls_merged'
"""Stands in `meta` of a full checkpoint whose adapters were merged (tools/merge.py)."""
META_VERSION = 1
EMA_PREFIX = 'module.'


def frozen_backbones(model: nn.Module) -> Iterator[tuple[str, PrunedBackbone]]:
    """Yield (name, backbone) for every backbone of the model that stands on a frozen base."""
    for name, module in model.named_modules():
        if isinstance(module, PrunedBackbone) and module.base_sha256 is not None:
            yield name, module


def base_keys(model: nn.Module) -> set[str]:
    """Return the state-dict keys that come from base files, which no task stores.

    What is stored is decided by structure: all outside a frozen backbone; inside one, adapters, output norms and whatever was unfrozen.
    """
    keys: set[str] = set()
    for name, backbone in frozen_backbones(model):
        prefix = f'{name}.' if name else ''
        keys |= {prefix + key for key in set(backbone.state_dict()) - set(backbone.trained_keys())}
    return keys


def slim(model: nn.Module, checkpoint: MutableMapping[str, Any]) -> None:
    """Take the base out of an MMEngine checkpoint and describe it in `meta`, in place.

    Args:
        model: The model (unwrapped) that the checkpoint was taken of.
        checkpoint: What MMEngine is about to write, EMA's state included.
    """
    base = base_keys(model)
    for name, prefix in (('state_dict', ''), ('ema_state_dict', EMA_PREFIX)):
        state = checkpoint.get(name, {})
        for key in [key for key in state if key.startswith(prefix) and key[len(prefix) :] in base]:
            del state[key]
    checkpoint['meta'] = {**plain(checkpoint.get('meta', {})), META_KEY: describe(model)}
    if 'message_hub' in checkpoint:
        checkpoint['message_hub'] = plain(checkpoint['message_hub'])


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


def check_has_base(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a slim checkpoint where nothing else brings its base along; MMEngine would go on with a random one.

    Raises:
        ValueError: If a backbone that the checkpoint left the base out of has none in the model.
    """
    stored = checkpoint.get('meta', {}).get(META_KEY, {}).get('backbones', {})
    ours = dict(frozen_backbones(model))
    for name, described in stored.items():
        if name not in ours:
            found = type(model.get_submodule(name)).__name__ if name in dict(model.named_modules()) else 'nothing'
            raise ValueError(
                f'load_from: this slim checkpoint leaves the base of model.{name} out ({described.get("base_checkpoint")}), and the model has '
                f'{found} without one there: set its type, base_checkpoint and adapter as in the training config'
            )


def check_resume(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Refuse to resume a run at other depths: optimizer state and schedule belong to the blocks it had.

    Raises:
        ValueError: If a backbone's kept depths differ from the checkpoint's.
    """
    stored = checkpoint.get('meta', {}).get(META_KEY, {}).get('backbones', {})
    for name, backbone in frozen_backbones(model):
        theirs = stored.get(name, {}).get('kept_depths')
        if theirs is not None and tuple(theirs) != backbone.kept_depths:
            raise ValueError(
                f'resume: the checkpoint was saved with kept_depths {tuple(theirs)}, the model has {backbone.kept_depths}; '
                'to go on from its weights at other depths use load_from instead of resume'
            )


def plain(value: Any) -> Any:
    """Make a nest of containers loadable with `weights_only=True`: numpy values and HistoryBuffers become lists and numbers.

    Example:
        >>> import numpy as np
        >>> plain({'eta': np.float64(1.5), 'palette': np.zeros(2, dtype=int)})
        {'eta': 1.5, 'palette': [0, 0]}
    """
    if isinstance(value, HistoryBuffer):
        history, count = value.data
        return {'history': history.tolist(), 'count': count.tolist(), 'max_length': value.max_length}
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(plain(item) for item in value) if isinstance(value, (list, tuple)) else sorted(value)
    return value


def restore_history(message_hub: MutableMapping[str, Any]) -> None:
    """Turn the log scalars of a slim checkpoint back into HistoryBuffers, in place, for resuming."""
    scalars = message_hub.get('log_scalars', {})
    for name, value in scalars.items():
        if isinstance(value, Mapping):
            scalars[name] = HistoryBuffer(value['history'], value['count'], value['max_length'])


def read_slim(path: str | Path) -> dict[str, Any]:
    """Read a slim checkpoint without running any code that it may carry.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of tensors and plain data, holds a whole model, or was merged before.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'checkpoint: no file at {str(path)!r}')
    try:
        content = read_torch(path)
        meta, state = content['meta'], content['state_dict']
        if not isinstance(meta, Mapping) or not isinstance(meta.get(META_KEY, {}), Mapping):
            raise ValueError(f'meta is {str(meta)[:100]!r}, no mapping')
        if not isinstance(state, Mapping) or not all(isinstance(item, Tensor) for item in state.values()):
            raise ValueError('state_dict holds something else than tensors')
        check_tensors(state)
    except Exception as error:  # any bytes may stand in the file, and the unpickler fails on them in as many ways
        raise ValueError(
            f'checkpoint: {str(path)!r} is no checkpoint of tensors and plain data ({reason_of(error)})'
        ) from error
    if MERGED_KEY in meta:
        raise ValueError(f'checkpoint: {str(path)!r} was merged before; the config.py beside it builds its model')
    if META_KEY not in meta:
        raise ValueError(
            f'checkpoint: {str(path)!r} is no slim checkpoint: train with SlimCheckpointHook on a frozen base'
        )
    return content


def strip_training_state(path: str | Path, out: str | Path) -> None:
    """Write a checkpoint's weights and `meta` alone, without optimizer, schedule, log history and EMA's twin.

    Args:
        path: A checkpoint of a run.
        out: Where the small one goes; written at once or not at all.
    """
    checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    with whole_file(out) as partial, partial.open('wb') as file:
        torch.save({'meta': checkpoint['meta'], 'state_dict': checkpoint['state_dict']}, file)
