"""Is the split that is scored also the one whose metric is reported?"""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any


def unwrap_cfg(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the innermost data-set config of wrappers such as RepeatDataset."""
    while 'dataset' in cfg:
        cfg = cfg['dataset']
    return cfg


def source_of(dataset: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Name the annotations (or images) that a data-set config reads, independent of how its paths are split up."""
    if dataset is None:
        return ()
    inner = unwrap_cfg(dataset)
    root = inner.get('data_root') or ''
    parts = [inner.get('ann_file') or '', *(inner.get('data_prefix') or {}).values()]
    return tuple(osp.normpath(osp.join(root, str(part))) for part in parts if part)


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
    return 'the blocks are scored on the split whose metric test_dataloader reports: the reported result is optimistic; score another split'
