"""The last layer of a head where that is linear, found or refused by name; that of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmsls.features.box_head import BoxHead
from mmsls.features.data_view import DataView
from mmsls.features.image_sampler import label_of
from mmsls.features.last_layer import HeadSamples, LinearHead, given_to, new_rows, refused, with_bias
from mmsls.features.pixel_head import PixelHead
from mmsls.features.records import Record
from mmsls.features.region_sampler import RegionSampler


def linear_head(model: nn.Module, share: int = 200, seed: int = 0) -> LinearHead:
    """Find the linear last layer of a model's head.

    Args:
        model: A classifier of MMPretrain, a segmentor of MMSegmentation or a two-stage detector of MMDetection.
        share: Most samples of an image that are drawn for a segmentor or a detector.
        seed: Of that draw.

    Raises:
        ValueError: Naming the head, if it has none.
    """
    decode_head, head = getattr(model, 'decode_head', None), getattr(model, 'head', None)
    if isinstance(decode_head, nn.ModuleList):
        decode_head = decode_head[-1]  # the last one of a cascade predicts
    if decode_head is not None:
        return PixelHead(decode_head, RegionSampler.settings_of(model), share, seed)
    if head is not None:
        return ImageHead(head)
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is not None and hasattr(roi_head, 'bbox_head'):
        return BoxHead(roi_head, share, seed)
    found = getattr(model, 'bbox_head', model)
    raise refused(found, 'its classes are not read off labelled features by one layer')


class ImageHead:
    """A classifier's head that ends in a `Linear`: one sample per image.

    Raises:
        ValueError: If there is no such layer, several, or one image may have several classes.
    """

    placed = False

    def __init__(self, head: Any) -> None:
        self.head, self.name = head, type(head).__name__
        classes = getattr(head, 'num_classes', None)
        layers = [part for part in head.modules() if isinstance(part, nn.Linear) and part.out_features == classes]
        if len(layers) != 1:
            raise refused(head, f'it has {len(layers)} linear layers of its {classes} classes, not one')
        if hasattr(head, 'thr'):
            raise refused(head, 'an image may have several classes')
        self.layer = with_bias(head, layers[0])

    def watching(self) -> AbstractContextManager[list[Tensor]]:
        """Record what the layer is given, see `LinearHead`."""
        return given_to(self.layer)

    def samples(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[Any],
        records: Sequence[Record],
        view: DataView,  # noqa: ARG002
    ) -> HeadSamples:
        """Return the labelled samples of one batch, see `LinearHead`."""
        if len(inputs) != 1 or inputs[0].shape != (len(data_samples), self.layer.in_features):
            raise refused(
                self.head, f'its last layer is given {[tuple(x.shape) for x in inputs]}, no feature per image'
            )
        new = new_rows(records)
        labels = [label_of(data_samples[row], records[row]) for row in new]
        return HeadSamples(
            inputs[0][new].float().cpu().numpy(), np.array(labels, int), np.arange(len(new)), np.ones(len(new))
        )
