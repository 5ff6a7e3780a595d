"""Read an image's instances from a data sample; host classes are met by what they can do, never imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from mmsls.features.image_frame import ImageFrame
from mmsls.features.records import Record
from mmsls.features.token_grid import box_weights, integral_image, mask_weights

NAMES = ('img_path', 'img_id')
"""What names an image in its meta information: its path, else its id."""


@dataclass(frozen=True)
class GroundTruth:
    """The instances of one image, in the original frame.

    Attributes:
        labels: Class of each instance.
        boxes: (N, 4) as x1, y1, x2, y2; None where only masks are given.
        integrals: Integral image of each instance's mask, None for a mask without a pixel; None where boxes are used.
        visible: (N,) bool, whether the instance has a part in what the input shows of the image.
        ignored: Number of instances marked as ignored.
        occupied: (M, 4) boxes of everything that is an object or may be one, the ignored ones too.
    """

    labels: list[int]
    boxes: np.ndarray | None
    integrals: list[np.ndarray | None] | None
    visible: np.ndarray
    ignored: int
    occupied: np.ndarray

    def weights(self, frame: ImageFrame, hw_shape: tuple[int, int], stride: int) -> np.ndarray:
        """Return the weight of each token for each instance, (N, H, W) float32."""
        if self.boxes is None:
            weights = np.zeros((len(self.labels), *hw_shape), dtype=np.float32)
        else:
            weights = box_weights(frame.to_input(self.boxes), hw_shape, stride)
        for number, integral in enumerate(self.integrals or []):
            if integral is not None:
                weights[number] = mask_weights(frame.coverage(integral, hw_shape, stride))
        return weights


def read_instances(
    data_sample: Any, frame: ImageFrame, use_masks: bool | Literal['auto'] = 'auto', record: Record | None = None
) -> GroundTruth:
    """Read `gt_instances`; `ignored_instances` are no ground truth.

    Args:
        data_sample: A `DetDataSample` with boxes and masks in the frame's original.
        frame: Where the image lies.
        use_masks: As for `InstanceSampler`.
        record: Which record it is, for messages.

    Raises:
        ValueError: If there is no ground truth, none of the demanded kind, or one in another frame.
    """
    instances = data_sample.get('gt_instances')
    if instances is None or 'labels' not in instances:
        raise ValueError(
            f'{image_name(data_sample.metainfo, record)} comes without ground truth: the pipeline that is scored loads '
            "none (add dict(type='LoadAnnotations', with_bbox=True) behind Resize), or the data set is a test set "
            'without annotations (score another split)'
        )
    labels = instances.labels.tolist()
    boxes = _boxes(instances.bboxes) if 'bboxes' in instances else None
    masks = _masks(instances, frame, use_masks)
    if boxes is None and masks is None:
        raise ValueError(
            f'the ground truth of {image_name(data_sample.metainfo, record)} has neither boxes nor masks: '
            'set with_bbox=True (or with_mask=True) in LoadAnnotations of the pipeline that is scored'
        )
    visible = np.zeros(len(labels), dtype=bool)
    ignored, occupied = _ignored(data_sample)
    if boxes is not None:
        occupied = np.concatenate([boxes, occupied])
        visible = frame.overlaps(boxes)
        boxes = np.where(visible[:, None], boxes, 0)  # NaN has no place on a grid
    if masks is None:
        return GroundTruth(labels, boxes, None, visible, ignored, occupied)
    integrals = [integral_image(mask) if mask.any() else None for mask in masks]
    for number, integral in enumerate(integrals):
        if integral is not None:
            visible[number] = frame.visible_area(integral) > 0
            integrals[number] = integral if visible[number] else None
    if boxes is None:
        occupied = np.concatenate([np.array([_around(mask) for mask in masks]).reshape(-1, 4), occupied])
    return GroundTruth(labels, boxes, integrals, visible, ignored, occupied)


def image_name(metainfo: Mapping[str, Any], record: Record | None = None) -> str:
    """Name an image in a message: by its path, its id where it was not read from a file, else its record."""
    for name in NAMES:
        if metainfo.get(name) is not None:
            return str(metainfo[name])
    return 'an image without a name' if record is None else f'record {record[1]} of data set {record[0]}'


def _ignored(data_sample: Any) -> tuple[int, np.ndarray]:
    """Return how many instances are marked as ignored, and their boxes (M, 4), as far as they have some."""
    instances = data_sample.get('ignored_instances')
    if instances is None or not len(instances):
        return 0, np.zeros((0, 4))
    return len(instances), _boxes(instances.bboxes) if 'bboxes' in instances else np.zeros((0, 4))


def _around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box around a mask (h, w); of no size for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)


def _boxes(bboxes: Any) -> np.ndarray:
    """Return boxes as (N, 4), x1, y1, x2, y2: a tensor, or HorizontalBoxes where boxtype2tensor=False."""
    if bboxes.shape[-1] != 4:
        raise ValueError(f'gt_instances.bboxes has shape {tuple(bboxes.shape)}; boxes are (N, 4) as x1, y1, x2, y2')
    return bboxes.detach().cpu().numpy().reshape(-1, 4)


def _masks(instances: Any, frame: ImageFrame, use_masks: bool | Literal['auto']) -> np.ndarray | None:
    if use_masks is False or (use_masks == 'auto' and 'masks' not in instances):
        return None
    if 'masks' not in instances:
        raise ValueError(
            'use_masks=True, but the ground truth has no masks: set with_mask=True in LoadAnnotations, '
            "or use_masks='auto'"
        )
    masks = instances.masks
    if hasattr(masks, 'to_ndarray'):  # BitmapMasks, PolygonMasks
        masks = masks.to_ndarray()
    masks = masks.cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    if masks.shape[1:] != frame.ori_shape:
        raise ValueError(
            f'ground-truth masks are {masks.shape[1:]} (height, width), the original image is {frame.ori_shape}: load '
            'annotations behind Resize, as in every test pipeline of MMDetection'
        )
    return masks
