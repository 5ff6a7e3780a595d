"""Read an image's semantic map from a data sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsls.features.ground_truth import image_name
from mmsls.features.image_frame import check_shapes
from mmsls.features.records import Record


def read_semantic_map(
    data_sample: Any, num_classes: int | None = None, ignore_index: int | None = 255, record: Record | None = None
) -> np.ndarray:
    """Read `gt_sem_seg`. Whatever `reduce_zero_label` does to it, the pipeline's `LoadAnnotations` has done.

    Args:
        data_sample: A `SegDataSample` with its map in the original frame.
        num_classes: Number of classes; None: not checked.
        ignore_index: Label that may occur without being a class.
        record: Which record it is, for messages.

    Returns:
        (h, w) class of every pixel of the original image.

    Raises:
        ValueError: If there is no map, one of another size, or one with other classes.
    """
    truth = data_sample.get('gt_sem_seg')
    name = image_name(data_sample.metainfo, record)
    if truth is None:
        raise ValueError(
            f'{name} comes without ground truth: the pipeline that is scored loads none (add '
            "dict(type='LoadAnnotations') behind Resize), or the data set is a test set without annotations (score "
            'another split)'
        )
    labels = truth.data.detach().cpu().numpy()
    check_shapes(data_sample.metainfo)
    shape = int(data_sample.ori_shape[0]), int(data_sample.ori_shape[1])
    if labels.shape != (1, *shape):
        raise ValueError(
            f'the ground-truth map of {name} is {labels.shape[-2:] if labels.shape[0] == 1 else labels.shape}, the '
            f'original image is {shape} (height, width): load annotations behind Resize, as in every test pipeline of '
            'MMSegmentation, from one-channel files of the same size as the images'
        )
    check_classes(data_sample, num_classes, ignore_index, record)
    return labels[0]


def check_classes(
    data_sample: Any, num_classes: int | None, ignore_index: int | None, record: Record | None = None
) -> None:
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
            f'the ground-truth map of {image_name(data_sample.metainfo, record)} has the labels '
            f'{labels[unknown].unique().tolist()}; the model knows {num_classes} classes (from 0) and '
            f'ignore_index={ignore_index}: set ignore_index of decode_head, or reduce_zero_label of the data set, as '
            'its labels are'
        )
