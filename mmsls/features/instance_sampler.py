"""Detection and instance segmentation: one sample per ground-truth instance."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.logging import print_log

from mmsls.features.background import free_box
from mmsls.features.counts import IGNORED, NO_PLACE, OUTSIDE
from mmsls.features.ground_truth import GroundTruth, image_name, read_instances
from mmsls.features.image_frame import ImageFrame
from mmsls.features.keys import Key
from mmsls.features.recorder import BlockPass
from mmsls.features.records import Record
from mmsls.features.samplers import DataSampler, Sample, single_pass, weighted_means
from mmsls.features.token_grid import box_weights

Drawn = list[tuple[Key, np.ndarray]]


class InstanceSampler(DataSampler):
    """Detection and instance segmentation: one sample per ground-truth instance.

    The feature is the mean of a block's tokens inside the box, or inside the mask where there are masks; a box or a
    mask smaller than a token takes the nearest one. Instances marked as ignored are no samples.

    Where there is one class, objects are told apart from background: for every object a box of its size, at a place
    that no object or ignored instance overlaps, drawn by a hash of the object's key.

    Args:
        use_masks: `'auto'` takes masks where the ground truth has them, True demands them, False takes boxes always.
        background: `'auto'` draws background in a data set of one class; True always; False never.

    Raises:
        ValueError: If an argument is anything else.
    """

    name, unit = 'InstanceSampler', 'instances'

    def __init__(self, use_masks: bool | Literal['auto'] = 'auto', background: bool | Literal['auto'] = 'auto') -> None:
        for argument, value in (('use_masks', use_masks), ('background', background)):
            if value not in (True, False, 'auto'):
                raise ValueError(f"{argument}={value!r} must be True, False or 'auto'")
        super().__init__()
        self.use_masks, self.background = use_masks, background
        self.scores_one_class = background is not False
        self._background_label: int | None = None
        self._warned = False

    def prepare(self, dataset: Any) -> None:
        """Begin with a data set.

        Raises:
            ValueError: If its pipeline mixes images, or moves things in a way that cannot be followed; or background is
                wanted, and the data set does not name its classes.
        """
        super().prepare(dataset)
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if self.background is True and classes is None:
            raise ValueError(
                f'background=True, but {type(dataset).__name__} has no classes in its meta information, so the number '
                'of background is unknown'
            )
        wanted = self.background is True or (
            self.background == 'auto' and classes is not None and not isinstance(classes, str) and len(classes) == 1
        )
        self._background_label = len(classes) if wanted and classes is not None else None

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Record]) -> list[Sample]:
        """Sample every instance of a batch.

        Args:
            passes: What the recorder took; one pass.
            data_samples: The batch's `DetDataSample`s as `val_step` / `test_step` return them, ground truth in the
                original image's frame, or in the frame that the data set's pipeline leaves it in.
            records: Which records they are.

        Returns:
            Samples in the order of the images and of their `gt_instances`, an image's background behind its instances.

        Raises:
            ValueError: If there is no ground truth, it cannot be placed, or more or fewer than one pass.
        """
        blocks = single_pass(passes, len(data_samples))
        new = self.new(data_samples, records)
        return [
            sample
            for index, item in enumerate(data_samples)
            for sample in self._sample(blocks, index, item, records[index], new[index])
        ]

    def check(self, data_sample: Any) -> None:
        """Refuse an image without instances to read.

        Raises:
            ValueError: If there is no ground truth, none of the demanded kind, or one in another frame.
        """
        for frame in (frames := self.check_frames(data_sample.metainfo)):
            try:
                read_instances(data_sample, frame, self.use_masks)
            except ValueError:
                if frame is frames[-1]:
                    raise
            else:
                return

    def _sample(self, blocks: BlockPass, index: int, data_sample: Any, record: Record, new: bool) -> Iterable[Sample]:
        frame = self.frame(data_sample.metainfo, record)
        truth = read_instances(data_sample, frame, self.use_masks, record)
        numbers = np.flatnonzero(truth.visible)
        if not new:
            self.count_repeated(record, len(truth.labels) + truth.ignored)
            return
        drawn = self._drawn(truth, frame, record)
        outside = len(truth.visible) - len(numbers)
        missing = 0 if self._background_label is None else len(numbers) - len(drawn)
        self.counts.add(
            len(numbers) + len(drawn), Counter({IGNORED: truth.ignored, OUTSIDE: outside, NO_PLACE: missing})
        )
        self._warn_invisible(data_sample, record, outside)
        if not len(numbers):
            return
        weights = {
            grid: np.concatenate([truth.weights(frame, *grid)[numbers], _of_boxes(drawn, frame, *grid)])
            for grid in {(b.hw_shape, b.stride) for b in blocks.values()}
        }
        features = {
            block: weighted_means(recorded.tokens[index], weights[recorded.hw_shape, recorded.stride])
            for block, recorded in blocks.items()
        }
        names = [((*record, number), truth.labels[number]) for number in numbers.tolist()]
        names += [(key, self._background_label or 0) for key, _ in drawn]
        for row, (key, label) in enumerate(names):
            yield Sample(key, label, {block: rows[row] for block, rows in features.items()})

    def _drawn(self, truth: GroundTruth, frame: ImageFrame, record: Record) -> Drawn:
        """Draw a box of background for every visible instance, as far as there is a place."""
        if self._background_label is None:
            return []
        x1, y1, x2, y2 = area = frame.visible
        drawn = []
        for number in np.flatnonzero(truth.visible).tolist():
            box = np.clip(truth.occupied[number], [x1, y1, x1, y1], [x2, y2, x2, y2])
            key = (*record, -1 - number)
            place = free_box((max(box[2] - box[0], 1.0), max(box[3] - box[1], 1.0)), truth.occupied, area, key)
            if place is not None:
                drawn.append((key, place))
        return drawn

    def _warn_invisible(self, data_sample: Any, record: Record, count: int) -> None:
        if count and not self._warned:
            self._warned = True
            print_log(
                f'{count} ground-truth instances of {image_name(data_sample.metainfo, record)} lie outside the image '
                'and are left out of the scores (said once; how many in all stands in the index). If the annotations '
                'are right, the pipeline crops them away, or takes them for those of another frame: LoadAnnotations '
                'belongs behind Resize, as in every test pipeline of MMDetection',
                logger='current',
                level=logging.WARNING,
            )


def _of_boxes(drawn: Drawn, frame: ImageFrame, hw_shape: tuple[int, int], stride: int) -> np.ndarray:
    boxes = np.array([box for _, box in drawn]).reshape(-1, 4)
    return box_weights(frame.to_input(boxes), hw_shape, stride)
