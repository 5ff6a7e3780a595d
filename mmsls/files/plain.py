"""Data that any reader of `weights_only` checkpoints takes, made of what a training run collects."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor

DEEPEST = 100
"""How deep plain data may be nested."""


class NotPlainError(ValueError):
    """Something has no plain form."""


def plain(value: Any, where: str = 'value') -> Any:
    """Make a nest of containers loadable with `weights_only=True`.

    Numpy values and HistoryBuffers become lists and numbers, sets sorted lists, named tuples tuples, paths text. An
    entry of a mapping that has no plain form, such as an object of a class, is left out, and a warning names it.

    Args:
        value: Anything.
        where: Its name, for the warning.

    Raises:
        ValueError: If it has no plain form and stands in no mapping, or holds itself.

    Example:
        >>> import numpy as np
        >>> plain({'eta': np.float64(1.5), 'palette': np.zeros(2, dtype=int), np.int64(3): {2, 'a'}})
        {'eta': 1.5, 'palette': [0, 0], 3: [2, 'a']}
    """
    return _plain(value, where, ())


def _plain(value: Any, where: str, above: tuple[int, ...]) -> Any:
    if isinstance(value, HistoryBuffer):
        history, count = value.data
        return {'history': history.tolist(), 'count': count.tolist(), 'max_length': value.max_length}
    if isinstance(value, np.generic | np.ndarray):
        return _plain_array(value, where, above)
    if isinstance(value, torch.Size) or not isinstance(value, Mapping | list | tuple | set | frozenset):
        return _plain_leaf(value, where)
    if id(value) in above or len(above) > DEEPEST:
        raise NotPlainError(f'{where} holds itself, or is nested too deep')
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return _plain_mapping(value, where, above)
    items = [_plain(item, f'{where}[{number}]', above) for number, item in enumerate(value)]
    if isinstance(value, list | tuple):
        return items if isinstance(value, list) else tuple(items)
    try:
        return sorted(items)
    except TypeError:  # of mixed types
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))


def _plain_mapping(value: Mapping[Any, Any], where: str, above: tuple[int, ...]) -> dict[Any, Any]:
    found = {}
    for key, item in value.items():
        name = f'{where}[{key!r}]'
        try:
            plain_key = _plain(key, f'the key {key!r} of {where}', above)
            hash(plain_key)
            found[plain_key] = _plain(item, name, above)
        except (NotPlainError, TypeError) as error:
            print_log(f'{name} is left out of the checkpoint: {error}', 'current', logging.WARNING)
    return found


def _plain_array(value: Any, where: str, above: tuple[int, ...]) -> Any:
    found = value.tolist()
    if value.dtype.kind in 'biufcSU':
        return float(found) if isinstance(found, np.generic) else found  # numpy's long double stays one
    return _plain(found, where, above)


def _plain_leaf(value: Any, where: str) -> Any:
    """Return a single value as the plain type that it is a kind of."""
    if value is None or isinstance(value, Tensor | torch.dtype | torch.device | torch.Size):
        return value
    if isinstance(value, PathLike) and not isinstance(value, str):
        return str(value)
    kinds: tuple[Any, ...] = (bool, int, float, complex, str, bytes)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    raise NotPlainError(f'{where} is a {type(value).__module__}.{type(value).__qualname__}, which is no plain data')
