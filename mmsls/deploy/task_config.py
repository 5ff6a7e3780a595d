"""The part of a config that inference needs, as plain JSON that runs no code when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmsls.features.splits import parts_of

TUPLE, PAIRS = '__tuple__', '__pairs__'
DEEPEST = 100
KEPT = ('default_scope', 'custom_imports', 'model', 'test_pipeline')


def inference_config(cfg: Config, dataset_meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what building a model and reading an image need: model, scope, imports, test pipeline.

    Args:
        cfg: The whole config.
        dataset_meta: What a data set's `metainfo` became; it stands in place of the files that the config names.

    Raises:
        ValueError: If the config has no model.
    """
    if cfg.get('model') is None:
        raise ValueError('config: it has no model, so there is nothing to store with the weights')
    plain = cfg.to_dict()
    found = {key: plain[key] for key in KEPT if plain.get(key) is not None}
    dataset = parts_of(plain.get('test_dataloader') or plain.get('val_dataloader') or {})[0]
    if 'pipeline' in dataset:
        # mmseg looks for the pipeline there, mmdet and mmpretrain here.
        found.setdefault('test_pipeline', dataset['pipeline'])
        kept = {key: dataset[key] for key in ('type', 'metainfo', 'pipeline') if key in dataset}
        if isinstance(kept.get('metainfo'), Mapping):
            read = dataset_meta or {}
            kept['metainfo'] = {
                key: read.get(key, value) if isinstance(value, str) else value
                for key, value in kept['metainfo'].items()
            }
        found['test_dataloader'] = {'dataset': kept}
    return found


def backbone_config(cfg: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the config of the backbone that the model holds under a dotted name, as the dict inside `cfg`.

    Raises:
        ValueError: If the model's config has no such entry.
    """
    found: Any = cfg['model']
    for part in name.split('.'):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, dict):
        raise ValueError(
            f'config: model.{name} is {repr(found)[:100]}, but the checkpoint holds a frozen backbone of that name'
        )
    return found


def to_json(value: Any) -> Any:
    """Write a config as JSON values; tuples, which the hosts tell from lists, and keys not strings are marked.

    Raises:
        ValueError: If a value is no plain data, such as a class of a lazy config.

    Example:
        >>> to_json({'scale': (8, 4), 'keep_ratio': True})
        {'scale': {'__tuple__': [8, 4]}, 'keep_ratio': True}
        >>> from_json(to_json({'scale': (8, 4)}))
        {'scale': (8, 4)}
        >>> from_json(to_json({0: 255, 1: 0}))
        {0: 255, 1: 0}
    """
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return {PAIRS: [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {TUPLE: [to_json(item) for item in value]}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f'config: {value!r} is no plain data; name classes and functions by their registered names')


def from_json(value: Any, depth: int = 0) -> Any:
    """Read what `to_json` wrote.

    Raises:
        ValueError: If a mark holds something else than it marks, or the nest is deeper than any config.

    Example:
        >>> from_json({'scale': {'__tuple__': 4}})
        Traceback (most recent call last):
        ...
        ValueError: '__tuple__' holds 4, no list of items
    """
    if depth > DEEPEST:
        raise ValueError(f'nested deeper than {DEEPEST} levels')
    if isinstance(value, dict):
        if set(value) == {TUPLE}:
            return tuple(from_json(item, depth + 1) for item in marked(value, TUPLE))
        if set(value) == {PAIRS}:
            return dict(pair_from(item, depth + 1) for item in marked(value, PAIRS))
        return {key: from_json(item, depth + 1) for key, item in value.items()}
    return [from_json(item, depth + 1) for item in value] if isinstance(value, list) else value


def marked(value: dict[str, Any], mark: str) -> list[Any]:
    """Return the list under a mark, or raise a ValueError."""
    if not isinstance(value[mark], list):
        raise ValueError(f'{mark!r} holds {str(value[mark])[:100]}, no list of items')
    return value[mark]


def pair_from(pair: Any, depth: int) -> tuple[Any, Any]:
    """Read the key and the value of a mapping whose keys are no texts, or raise a ValueError."""
    if not isinstance(pair, list) or len(pair) != 2 or isinstance(pair[0], (list, dict)):
        raise ValueError(f'{PAIRS!r} holds {str(pair)[:100]}, no pair of a plain key and a value')
    return pair[0], from_json(pair[1], depth)
