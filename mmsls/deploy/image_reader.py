"""A task's test pipeline, for images that are files or in memory."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope


class ImageReader:
    """A test pipeline for an image that is a file or in memory; there is no ground truth to load.

    Args:
        pipeline: The steps, as a config has them. The first one loads the file.
    """

    def __init__(self, pipeline: list[Any]) -> None:
        first, *others = [step for step in pipeline if not str(step['type']).endswith('LoadAnnotations')]
        if str(first['type']).endswith('LoadImageFromNDArray'):
            first = {**first, 'type': 'LoadImageFromFile'}  # the hosts' inference functions write into a model's config
        self.load, self.rest = Compose([first]), Compose(others)

    def __call__(self, image: str | Path | np.ndarray) -> dict[str, Any]:
        """Return what the pipeline packs."""
        return self.rest(self.loaded(image))

    def loaded(self, image: str | Path | np.ndarray) -> dict[str, Any]:
        """Return what the first step loads; whatever it raises, the image cannot be read."""
        if isinstance(image, np.ndarray):
            size = image.shape[:2]
            return {'img': image, 'img_path': None, 'img_id': 0, 'img_shape': size, 'ori_shape': size}
        return self.load({'img_path': str(image), 'img_id': 0})


def reader(cfg: Config, name: str) -> ImageReader:
    """Return the reader that a task's config describes, its steps built in the task's scope.

    Raises:
        ValueError: If it describes none.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    pipeline = cfg.get('test_pipeline') or dataset.get('pipeline')
    if not pipeline:
        raise ValueError(f'the config of {name!r} has no test_pipeline; name one, and pack the task again')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        return ImageReader(deepcopy(list(pipeline)))
