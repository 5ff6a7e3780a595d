"""A box in place of a pipeline's ground truth, in the forms of MMDetection and MMSegmentation, none imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmsls.features.coordinate_probe import Shape

TRUTH = ('gt_bboxes', 'gt_masks', 'gt_seg_map')


def without_truth(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return a shallow copy without ground truth."""
    return {key: value for key, value in results.items() if not key.startswith('gt_')}


def write_box(like: Mapping[str, Any], box: np.ndarray, shape: Shape) -> dict[str, Any]:
    """Return one box as ground truth: as a box and a mask where the example has such, else as a map.

    Args:
        like: Results with ground truth, the example.
        box: (4,) as x1, y1, x2, y2 in whole pixels.
        shape: (height, width) of the image that it lies in.
    """
    x1, y1, x2, y2 = box.astype(int)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[y1:y2, x1:x2] = 1
    out: dict[str, Any] = {}
    boxes, masks, labels = (like.get(name) for name in TRUTH)
    if boxes is not None:
        one = box[None].astype(np.float32)
        out['gt_bboxes'] = one if isinstance(boxes, np.ndarray) else type(boxes)(one)
    if masks is not None:
        corners = np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=float)
        polygons = 'Polygon' in type(masks).__name__
        out['gt_masks'] = type(masks)([[corners]] if polygons else mask[None], *shape)
    if not out and labels is not None:
        return {'gt_seg_map': mask.astype(labels.dtype)}
    return {**out, 'gt_bboxes_labels': np.zeros(1, np.int64), 'gt_ignore_flags': np.zeros(1, bool)}


def read_box(results: dict[str, Any]) -> tuple[np.ndarray | None, Shape | None]:
    """Read the box again.

    Returns:
        (4,) as x1, y1, x2, y2, None if it is gone; (height, width) of the mask or map, None where there are boxes
        alone.
    """
    boxes, masks, labels = (results.get(name) for name in TRUTH)
    mask = None
    if masks is not None:
        masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else np.asarray(masks)
        mask = masks.max(axis=0) if len(masks) else np.zeros(masks.shape[1:])
    elif labels is not None:
        mask = np.asarray(labels) == 1
    shape = None if mask is None else (int(mask.shape[0]), int(mask.shape[1]))
    if boxes is not None:
        boxes = np.asarray(getattr(boxes, 'tensor', boxes), dtype=float).reshape(-1, 4)
        return (boxes[0] if len(boxes) == 1 else None), shape
    if mask is None or not mask.any():
        return None, shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float), shape
