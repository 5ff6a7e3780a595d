"""The class layer of a two-stage detector: what it is given for the proposals of an image, labelled as in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmsls.features.data_view import DataView
from mmsls.features.ground_truth import read_instances
from mmsls.features.image_frame import ImageFrame
from mmsls.features.last_layer import HeadSamples, given_to, new_rows, refused, with_bias
from mmsls.features.records import Record


class Regions(NamedTuple):
    """What the layer was given in one pass.

    Attributes:
        features: (n, d).
        rois: (n, 5), image of the batch and box in the input, x1, y1, x2, y2.
    """

    features: Tensor
    rois: Tensor


class BoxHead:
    """The box head of a two-stage detector that ends in `fc_cls`: an image's proposals are samples.

    They are labelled by the detector's own assigner, and as many are drawn of each image, objects and background, as
    its own sampler would draw in training, or the share if that is less.

    Args:
        roi_head: The detector's, with one box head.
        share: Most proposals that are drawn of an image.
        seed: Of the draw.

    Raises:
        ValueError: If there are several box heads, no such layer, its classes exclude each other not, or there is no
            assigner.
    """

    placed = True

    def __init__(self, roi_head: Any, share: int = 200, seed: int = 0) -> None:
        head = roi_head.bbox_head
        if isinstance(head, nn.ModuleList):
            raise refused(roi_head, f'it has {len(head)} box heads, one behind the other')
        self.head, self.name = head, type(head).__name__
        layer, classes = getattr(head, 'fc_cls', None), getattr(head, 'num_classes', None)
        if not isinstance(layer, nn.Linear) or classes is None or layer.out_features != classes + 1:
            raise refused(head, 'it has no linear fc_cls of its classes and the background')
        if getattr(getattr(head, 'loss_cls', None), 'use_sigmoid', False):
            raise refused(head, 'a box may have several classes')
        assigner = getattr(roi_head, 'bbox_assigner', None)
        sampler = getattr(roi_head, 'bbox_sampler', None)
        if assigner is None or sampler is None:
            raise refused(roi_head, 'it has no train_cfg, which says what a proposal shows')
        self.layer, self.background, self.assigner = with_bias(head, layer), int(classes), assigner
        self.extractor = roi_head.bbox_roi_extractor
        self.count = min(share, getattr(sampler, 'num', share))
        self.objects = max(1, int(self.count * getattr(sampler, 'pos_fraction', 0.25)))
        self.drawn = np.random.default_rng(seed)

    @contextmanager
    def watching(self) -> Iterator[list[Regions]]:
        """Record what the layer is given, see `LinearHead`."""
        found: list[Regions] = []
        with given_to(self.extractor, 1) as rois:

            def take(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                found.append(Regions(inputs[0].detach(), rois[-1]))
                rois.clear()  # a mask head may have asked the extractor too

            handle = self.layer.register_forward_pre_hook(take)
            try:
                yield found
            finally:
                handle.remove()

    def samples(
        self, inputs: Sequence[Regions], data_samples: Sequence[Any], records: Sequence[Record], view: DataView
    ) -> HeadSamples:
        """Return the labelled samples of one batch, see `LinearHead`."""
        width = self.layer.in_features
        nothing = HeadSamples(np.zeros((0, width)), np.zeros(0, int), np.zeros(0, int), np.zeros(0))
        if not inputs:
            return nothing  # no proposals
        if len(inputs) != 1 or len(inputs[0].features) != len(inputs[0].rois):
            raise refused(self.head, f'its fc_cls ran {len(inputs)} times for one batch')
        found = [self._of_image(row, inputs[0], data_samples[row], records[row], view) for row in new_rows(records)]
        return HeadSamples(*(np.concatenate(part) for part in zip(nothing, *found, strict=True)))

    def _of_image(self, row: int, given: Regions, item: Any, record: Record, view: DataView) -> HeadSamples:
        own = torch.nonzero(given.rois[:, 0] == row).flatten()
        labels = self._labels(given.rois[own, 1:], item, record, view.frame(item.metainfo, record))
        chosen = self._draw(labels)
        features = given.features[own[torch.from_numpy(chosen).to(own.device)]].float().cpu().numpy()
        return HeadSamples(features, labels[chosen], np.full(len(chosen), row), np.ones(len(chosen)))

    def _labels(self, boxes: Tensor, item: Any, record: Record, frame: ImageFrame) -> np.ndarray:
        """Return the class of every proposal (n,); the background's number, or -1 for one that training leaves out."""
        truth = read_instances(item, frame, use_masks=False, record=record)
        there = np.flatnonzero(truth.visible)
        assert truth.boxes is not None
        ignored = truth.occupied[len(truth.labels) :]

        def instances(found: np.ndarray, **more: Tensor) -> InstanceData:
            placed = torch.as_tensor(frame.to_input(found), dtype=boxes.dtype, device=boxes.device)
            return InstanceData(bboxes=placed.reshape(-1, 4), **more)

        classes = torch.tensor(truth.labels, dtype=torch.long, device=boxes.device)[torch.from_numpy(there)]
        objects = instances(truth.boxes[there], labels=classes)
        assigned = self.assigner.assign(InstanceData(priors=boxes), objects, instances(ignored)).gt_inds.cpu().numpy()
        known = np.array([*truth.labels], int)[there]
        labels = np.where(assigned == 0, self.background, -1)
        labels[assigned > 0] = known[assigned[assigned > 0] - 1]
        return labels

    def _draw(self, labels: np.ndarray) -> np.ndarray:
        """Draw proposals of objects and of background, in random order."""
        objects, rest = (
            self.drawn.permutation(np.flatnonzero(of))
            for of in ((labels >= 0) & (labels < self.background), labels == self.background)
        )
        objects = objects[: self.objects]
        return self.drawn.permutation(np.concatenate([objects, rest[: self.count - len(objects)]]))
