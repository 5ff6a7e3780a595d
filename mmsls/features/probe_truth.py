"""A box in place of a pipeline's ground truth: written and read in the forms of MMDetection and MMSegmentation, none imported."""

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
    """Return one box as ground truth: as boxes where the example has some, else as a mask or a map.

    Args:
        like: Results with ground truth, the example.
        box: (4,) as x1, y1, x2, y2 in whole pixels.
        shape: (height, width) of the image that it lies in.
    """
    kind = next(name for name in TRUTH if like.get(name) is not None)
    old, (x1, y1, x2, y2) = like[kind], box.astype(int)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[y1:y2, x1:x2] = 1
    if kind == 'gt_seg_map':
        return {kind: mask.astype(old.dtype)}
    if kind == 'gt_bboxes':
        boxes = box[None].astype(np.float32)
        new: Any = boxes if isinstance(old, np.ndarray) else type(old)(boxes)
    elif 'Polygon' in type(old).__name__:
        new = type(old)([[np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=float)]], *shape)
    else:
        new = type(old)(mask[None], *shape)
    return {kind: new, 'gt_bboxes_labels': np.zeros(1, np.int64), 'gt_ignore_flags': np.zeros(1, bool)}


def read_box(results: dict[str, Any]) -> tuple[np.ndarray | None, Shape | None]:
    """Read the box again.

    Returns:
        (4,) as x1, y1, x2, y2, None if it is gone; (height, width) of the mask or map that it stands in, None for boxes.
    """
    if results.get('gt_bboxes') is not None:
        boxes = results['gt_bboxes']
        boxes = np.asarray(getattr(boxes, 'tensor', boxes), dtype=float).reshape(-1, 4)
        return (boxes[0] if len(boxes) == 1 else None), None
    truth = results.get('gt_masks') if results.get('gt_seg_map') is None else results['gt_seg_map']
    if truth is None:
        return None, None
    masks = truth.to_ndarray() if hasattr(truth, 'to_ndarray') else np.asarray(truth)
    mask = (masks if masks.ndim == 2 else masks.max(axis=0) if len(masks) else np.zeros(masks.shape[1:])) == 1
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    shape = int(mask.shape[0]), int(mask.shape[1])
    if not len(rows):
        return None, shape
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float), shape
