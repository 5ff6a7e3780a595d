"""Read an image's ground truth from a data sample; host classes are met by what they can do, never imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from mmsls.features.keys import NAMES
from mmsls.features.token_grid import ImageFrame, box_weights, integral_image, mask_coverage, mask_weights


@dataclass(frozen=True)
class GroundTruth:
    """The instances of one image, in the original frame.

    Attributes:
        labels: Class of each instance.
        boxes: (N, 4) as x1, y1, x2, y2; None where only masks are given.
        integrals: Integral image of each instance's mask, None for a mask without a pixel; None where boxes are used.
        visible: (N,) bool, whether the instance has a part in the image.
    """

    labels: list[int]
    boxes: np.ndarray | None
    integrals: list[np.ndarray | None] | None
    visible: np.ndarray

    def weights(self, frame: ImageFrame, hw_shape: tuple[int, int], stride: int) -> np.ndarray:
        """Return the weight of each token for each instance, (N, H, W) float32."""
        if self.boxes is None:
            weights = np.zeros((len(self.labels), *hw_shape), dtype=np.float32)
        else:
            weights = box_weights(frame.to_resized(self.boxes), hw_shape, stride)
        for number, integral in enumerate(self.integrals or []):
            if integral is not None:
                weights[number] = mask_weights(mask_coverage(integral, frame.scale, hw_shape, stride))
        return weights


def read_instances(data_sample: Any, frame: ImageFrame, use_masks: bool | Literal['auto'] = 'auto') -> GroundTruth:
    """Read `gt_instances`; `ignored_instances` are no ground truth.

    Args:
        data_sample: A `DetDataSample` with boxes and masks in the original frame.
        frame: Where the image lies.
        use_masks: As for `InstanceSampler`.

    Raises:
        ValueError: If there is no ground truth, none of the demanded kind, or one in another frame.
    """
    instances = data_sample.get('gt_instances')
    if instances is None or 'labels' not in instances:
        raise ValueError(
            f'{image_name(data_sample.metainfo)} comes without ground truth: the pipeline that is scored loads none '
            "(add dict(type='LoadAnnotations', with_bbox=True) behind Resize), or the data set is a test set without "
            'annotations (score another split)'
        )
    labels = instances.labels.tolist()
    boxes = _boxes(instances.bboxes) if 'bboxes' in instances else None
    masks = _masks(instances, frame, use_masks)
    if boxes is None and masks is None:
        raise ValueError(
            f'the ground truth of {image_name(data_sample.metainfo)} has neither boxes nor masks: '
            'set with_bbox=True (or with_mask=True) in LoadAnnotations of the pipeline that is scored'
        )
    visible = np.zeros(len(labels), dtype=bool)
    if boxes is not None:
        visible = frame.overlaps(boxes)
        boxes = np.where(visible[:, None], boxes, 0)  # NaN has no place on a grid
    if masks is None:
        return GroundTruth(labels, boxes, None, visible)
    integrals = [integral_image(mask) if mask.any() else None for mask in masks]
    visible |= np.array([integral is not None for integral in integrals], dtype=bool)
    return GroundTruth(labels, boxes, integrals, visible)


def read_semantic_map(
    data_sample: Any, frame: ImageFrame, num_classes: int | None = None, ignore_index: int | None = 255
) -> np.ndarray:
    """Read `gt_sem_seg`. Whatever `reduce_zero_label` does to it, the pipeline's `LoadAnnotations` has done.

    Args:
        data_sample: A `SegDataSample` with its map in the original frame.
        frame: Where the image lies.
        num_classes: Number of classes; None: not checked.
        ignore_index: Label that may occur without being a class.

    Returns:
        (h, w) class of every pixel of the original image.

    Raises:
        ValueError: If there is no map, one of another size, or one with other classes.
    """
    truth = data_sample.get('gt_sem_seg')
    name = image_name(data_sample.metainfo)
    if truth is None:
        raise ValueError(
            f"{name} comes without ground truth: the pipeline that is scored loads none (add dict(type='LoadAnnotations') behind Resize), or the "
            'data set is a test set without annotations (score another split)'
        )
    labels = truth.data.detach().cpu().numpy()
    if labels.shape != (1, *frame.ori_shape):
        raise ValueError(
            f'the ground-truth map of {name} is {labels.shape[-2:] if labels.shape[0] == 1 else labels.shape}, the original image is '
            f'{frame.ori_shape} (height, width): load annotations behind Resize, as in every test pipeline of MMSegmentation, from one-channel '
            'files of the same size as the images'
        )
    check_classes(data_sample, num_classes, ignore_index)
    return labels[0]


def check_classes(data_sample: Any, num_classes: int | None, ignore_index: int | None) -> None:
    """Refuse a semantic map with labels that are no class.

    Raises:
        ValueError: If a label is below 0, or `num_classes` or more, and not `ignore_index`.
    """
    labels = data_sample.gt_sem_seg.data
    unknown = (labels < 0) | (labels >= num_classes) if num_classes is not None else labels < 0
    if ignore_index is not None:
        unknown &= labels != ignore_index
    if unknown.any():
        raise ValueError(
            f'the ground-truth map of {image_name(data_sample.metainfo)} has the labels {labels[unknown].unique().tolist()}; the model knows '
            f'{num_classes} classes (from 0) and ignore_index={ignore_index}: set ignore_index of decode_head, or reduce_zero_label of the data '
            'set, as its labels are'
        )


def image_name(metainfo: Mapping[str, Any]) -> str:
    """Return an image's path, or its id where it was not read from a file.

    Raises:
        ValueError: If the meta information has neither.
    """
    for name in NAMES:
        if metainfo.get(name) is not None:
            return str(metainfo[name])
    raise ValueError(
        "meta information has neither 'img_path' nor 'img_id': add 'img_path' to meta_keys of PackDetInputs (PackSegInputs, PackInputs)"
    )


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
