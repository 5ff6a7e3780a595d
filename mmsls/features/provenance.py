"""What an index records of where its curve comes from, beside the settings: the data set and the versions."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch


def describe_dataset(dataset: Any) -> str:
    """Name a data set by its class and the last part of its annotation file or image folder."""
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    source = getattr(dataset, 'ann_file', '') or next(iter(getattr(dataset, 'data_prefix', {}).values()), '')
    return f'{type(dataset).__name__}({Path(str(source)).name})' if source else type(dataset).__name__


def versions() -> dict[str, str]:
    """Return the versions that may move a score."""
    names = ('scikit-learn', 'numpy', 'scipy')
    return {
        'python': platform.python_version(),
        'torch': torch.__version__,
        **{n: importlib.metadata.version(n) for n in names},
    }
