"""What a model says of an image as plain data: columns that Arrow, JSON and pandas hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

COLUMNS = {
    'pred_instances': ('boxes', 'scores', 'labels'),
    'pred_sem_seg': ('map', 'shares'),
    'pred_score': ('label', 'score'),
}
"""Columns by what a host's data sample holds."""


def kind_of(sample: Any) -> str:
    """Return which of `COLUMNS` a data sample has.

    Raises:
        ValueError: If it has none of them.
    """
    found = next((kind for kind in COLUMNS if kind in sample), None)
    if found is None:
        raise ValueError(
            f'a prediction holds {", ".join(sample.keys()) or "nothing"}; columns are made of {", ".join(COLUMNS)}'
        )
    return found


def row_of(sample: Any, classes: Sequence[str], min_score: float) -> dict[str, Any]:
    """Return the columns of one image.

    Args:
        sample: A host's data sample with a prediction.
        classes: Names of the classes.
        min_score: Boxes below it are left out.

    Returns:
        Of a detector `boxes` (left, top, right, bottom in pixels of the image), `scores` and `labels`, and `masks`
        (COCO's run-length text, height and width) where it segments instances; of a segmentor `map`, a PNG file of
        class numbers as large as the image, and `shares` of the pixels by class; of a classifier `label` and `score`.
    """
    kind = kind_of(sample)
    if kind == 'pred_instances':
        return instances(sample.pred_instances, classes, min_score)
    if kind == 'pred_sem_seg':
        return regions(sample.pred_sem_seg.data.squeeze(0).cpu().numpy(), classes)
    scores = sample.pred_score.cpu()
    best = int(scores.argmax())
    return {'label': name_of(best, classes), 'score': float(scores[best])}


def instances(found: Any, classes: Sequence[str], min_score: float) -> dict[str, Any]:
    """Return the columns of boxes, and masks where there are any."""
    found = found[found.scores >= min_score].cpu()
    row: dict[str, Any] = {
        'boxes': found.bboxes.tolist(),
        'scores': found.scores.tolist(),
        'labels': [name_of(label, classes) for label in found.labels.tolist()],
    }
    if 'masks' in found:
        row['masks'] = [run_lengths(np.asarray(mask)) for mask in found.masks]
    return row


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask (H, W) in COCO's run-length form."""
    from pycocotools.mask import encode

    told = encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': [int(side) for side in told['size']], 'counts': told['counts'].decode('ascii')}


def regions(found: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a map of class numbers (H, W)."""
    file = io.BytesIO()
    Image.fromarray(found.astype(np.uint8 if found.max() < 256 else np.uint16)).save(file, 'PNG')
    numbers, counts = np.unique(found, return_counts=True)
    shares = {name_of(int(n), classes): float(c) / found.size for n, c in zip(numbers, counts, strict=True)}
    # Every class in every row: Arrow holds them as one type.
    return {'map': file.getvalue(), 'shares': {**dict.fromkeys(map(str, classes), 0.0), **shares}}


def name_of(label: int, classes: Sequence[str]) -> str:
    """Return a class's name, or its number where it has none.

    Example:
        >>> name_of(1, ('cat', 'dog')), name_of(7, ())
        ('dog', '7')
    """
    return str(classes[label]) if label < len(classes) else str(label)
