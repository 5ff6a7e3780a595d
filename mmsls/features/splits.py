"""Is the split that is scored also the one whose metric is reported?"""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

SPLITS = ('train', 'val', 'test')


def unwrap_cfg(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the innermost data-set config of wrappers such as RepeatDataset."""
    while 'dataset' in cfg:
        cfg = cfg['dataset']
    return cfg


def parts_of(cfg: Mapping[str, Any]) -> list[Any]:
    """Return the innermost data-set configs, several in a ConcatDataset: the very dicts inside `cfg`.

    Example:
        >>> parts_of({'dataset': {'datasets': [{'ann_file': 'a'}, {'dataset': {'ann_file': 'b'}}]}})
        [{'ann_file': 'a'}, {'ann_file': 'b'}]
    """
    inner = unwrap_cfg(cfg)
    if 'datasets' in inner:
        return [leaf for part in inner['datasets'] for leaf in parts_of(part)]
    return [inner]


def source_of(dataset: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Name the annotations (or images) that a data-set config reads, independent of how its paths are split up."""
    return () if dataset is None else tuple(name for part in parts_of(dataset) for name in names_of(part))


def names_of(part: Mapping[str, Any]) -> list[str]:
    """Name what one data set reads.

    MMPreTrain has prefixes that are plain strings, and data sets that know their lists by `split` alone.
    """
    root, prefix = part.get('data_root') or '', part.get('data_prefix') or {}
    prefixes = [prefix] if isinstance(prefix, str) else prefix.values()
    paths = [osp.normpath(osp.join(root, str(name))) for name in (part.get('ann_file'), *prefixes) if name]
    return [*paths, f'{root}:{part["split"]}'] if part.get('split') else paths


def reported_split_warning(cfg: Mapping[str, Any], dataset: Mapping[str, Any] | None) -> str | None:
    """Say so when the scored data set is the one that the test metric is reported on.

    Args:
        cfg: The whole config.
        dataset: The config of the data set that is scored.

    Returns:
        One sentence, or None.
    """
    test = (cfg.get('test_dataloader') or {}).get('dataset')
    if not source_of(dataset) or source_of(test) != source_of(dataset):
        return None
    return (
        'the blocks are scored on the split whose metric test_dataloader reports: the reported result is optimistic; '
        'score another split'
    )


def split_dataloader(cfg: Config, split: str) -> ConfigDict:
    """Return a data-loader config that yields a split in order with the test transform and ground truth.

    Raises:
        ValueError: If the split is unknown or not configured.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    wanted, like = cfg.get(f'{split}_dataloader'), cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if wanted is None or like is None:
        raise ValueError(
            f'split {split!r}: the config has no {split}_dataloader'
            if wanted is None
            else 'the config has no val_dataloader'
        )
    loader = deepcopy(like)
    dataset = deepcopy(unwrap_cfg(wanted['dataset']))
    for part in parts_of(dataset):
        part.update(pipeline=deepcopy(parts_of(like['dataset'])[0]['pipeline']), test_mode=True)
    loader['dataset'] = dataset
    return loader
