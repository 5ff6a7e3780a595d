"""Predict with a task folder, a batch of images at a time: alone, or in the workers of Ray Data or Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.device import get_device

from mmsls.deploy.image_reader import reader
from mmsls.deploy.rows import row_of
from mmsls.deploy.task_folder import read_task
from mmsls.deploy.task_models import build_task

SOURCES = ('image', 'bytes', 'path')
"""Columns that an image may come in, the first that is there counts."""


class TaskPredictor:
    """A task folder as a function of batches: columns in, the same columns and the predictions out.

    It is built once per worker, and holds nothing of an engine: `map_batches` of Ray Data takes the class as it is,
    `mapInPandas` of Spark calls one (docs, "Many images").

    Args:
        folder: What `mmsls.deploy.task_folder.pack` wrote, where the worker sees it.
        base_checkpoint: Where the base lies there; by default where the task says.
        device: Where the model goes; by default the GPU, if there is one.
        min_score: Boxes below it are left out.
        trusted: Modules of others that the task may import and build from (see `read_task`).

    Raises:
        FileNotFoundError: If a part of the folder, or the base, is missing.
        ValueError: If the folder is damaged, the base is another one, or the task says nothing of how images are read.
    """

    def __init__(
        self,
        folder: str | Path,
        base_checkpoint: str | None = None,
        device: str | None = None,
        min_score: float = 0.3,
        trusted: Sequence[str] = (),
    ) -> None:
        task = read_task(folder, trusted)
        self.model: Any = build_task(task, base_checkpoint, device or get_device())
        self.reader = reader(self.model.cfg, task.name)
        self.classes = tuple(task.dataset_meta.get('classes') or ())
        self.min_score = min_score

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Predict one batch.

        Args:
            batch: Columns of equal length: `path` (image files), `bytes` (files that were read already) or `image`
                (arrays (H, W, 3), red first, or (H, W) in grey), and any others.

        Returns:
            The batch's columns without `image` and `bytes`, those of `mmsls.deploy.rows.row_of`, and `error`: None, or
            why that image could not be read; its other columns are None then.

        Raises:
            ValueError: If no column holds images.
        """
        source = next((name for name in SOURCES if name in batch), None)
        if source is None:
            raise ValueError(f'batch: it has the columns {sorted(batch)}, none of which is one of {", ".join(SOURCES)}')
        rows = self.rows(list(batch[source]))
        columns = dict.fromkeys(key for row in rows for key in row if key != 'error')
        kept = {name: column for name, column in batch.items() if name not in ('image', 'bytes')}
        return {**kept, **{name: [row.get(name) for row in rows] for name in [*columns, 'error']}}

    def rows(self, images: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the columns of each image by name; an image that cannot be read has `error` alone."""
        rows: list[dict[str, Any]] = [{} for _ in images]
        packed = {}
        for number, image in enumerate(images):
            try:
                loaded = self.reader.loaded(as_read(image))
            except Exception as error:  # a codec's or a file system's, of as many types
                rows[number] = {'error': f'{type(error).__name__}: {str(error)[:200]}'}
            else:
                packed[number] = self.reader.rest(loaded)
        for numbers in alike(packed):
            inputs = {key: [packed[number][key] for number in numbers] for key in packed[numbers[0]]}
            with torch.no_grad():
                samples = self.model.test_step(inputs)
            for number, sample in zip(numbers, samples, strict=True):
                rows[number] = {**row_of(sample, self.classes, self.min_score), 'error': None}
        return rows


def as_read(image: Any) -> str | np.ndarray:
    """Return an image as a pipeline takes it: a file's path, or an array (H, W, 3), blue first.

    Raises:
        ValueError: If bytes are no image, or an array has another form.
    """
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, bytes):
        found = mmcv.imfrombytes(image)
        if found is None:
            raise ValueError('these bytes are no image')
        return found
    image = np.asarray(image)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(f'an image is an array (H, W, 3) of uint8, not {image.shape} of {image.dtype}')
    return np.ascontiguousarray(image[..., ::-1])


def alike(packed: Mapping[int, Mapping[str, Any]]) -> list[list[int]]:
    """Group images whose inputs are of one size: padding to a common one would change what is predicted."""
    groups: dict[Any, list[int]] = {}
    for number, one in packed.items():
        groups.setdefault(tuple(one['inputs'].shape), []).append(number)
    return list(groups.values())
