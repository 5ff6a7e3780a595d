"""Detection and instance segmentation: one sample per ground-truth instance."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.logging import print_log

from mmsls.features.ground_truth import image_name, read_instances
from mmsls.features.recorder import BlockPass
from mmsls.features.samplers import Sample, single_pass, weighted_means
from mmsls.features.token_grid import ImageFrame


class InstanceSampler:
    """Detection and instance segmentation: one sample per ground-truth instance.

    The feature is the mean of a block's tokens inside the box, or inside the mask where there are masks; a box or a
    mask smaller than a token takes the nearest one. Instances marked as ignored are no samples.

    Args:
        use_masks: `'auto'` takes masks where the ground truth has them, True demands them, False takes boxes always.

    Raises:
        ValueError: If `use_masks` is anything else.
    """

    name = 'InstanceSampler'
    default_scope, default_split = 'stage', 'val'

    def __init__(self, use_masks: bool | Literal['auto'] = 'auto') -> None:
        if use_masks not in (True, False, 'auto'):
            raise ValueError(f"use_masks={use_masks!r} must be True, False or 'auto'")
        self.use_masks = use_masks
        self._warned = False

    def __call__(
        self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Any] = ()
    ) -> list[Sample]:
        """Sample every instance of a batch.

        Args:
            passes: What the recorder took; one pass.
            data_samples: The batch's `DetDataSample`s as `val_step` / `test_step` return them, ground truth in the
                original image's frame.

        Returns:
            Samples in the order of the images and of their `gt_instances`.

        Raises:
            ValueError: If there is no ground truth, or more or fewer than one pass.
        """
        blocks = single_pass(passes, len(data_samples))
        return [sample for index, item in enumerate(data_samples) for sample in self._sample(blocks, index, item)]

    def check(self, data_sample: Any) -> None:
        """Refuse an image without instances to read.

        Raises:
            ValueError: If there is no ground truth, none of the demanded kind, or one in another frame.
        """
        read_instances(data_sample, ImageFrame.from_metainfo(data_sample.metainfo), self.use_masks)

    def _sample(self, blocks: BlockPass, index: int, data_sample: Any) -> Iterable[Sample]:
        frame = ImageFrame.from_metainfo(data_sample.metainfo)
        truth = read_instances(data_sample, frame, self.use_masks)
        numbers = np.flatnonzero(truth.visible)
        self._warn_invisible(data_sample, len(truth.visible) - len(numbers))
        if not len(numbers):
            return
        weights = {
            grid: truth.weights(frame, *grid)[numbers] for grid in {(b.hw_shape, b.stride) for b in blocks.values()}
        }
        features = {
            block: weighted_means(recorded.tokens[index], weights[recorded.hw_shape, recorded.stride])
            for block, recorded in blocks.items()
        }
        path = image_name(data_sample.metainfo)
        for row, number in enumerate(numbers.tolist()):
            yield Sample((path, number), truth.labels[number], {block: rows[row] for block, rows in features.items()})

    def _warn_invisible(self, data_sample: Any, count: int) -> None:
        if count and not self._warned:
            self._warned = True
            print_log(
                f'{count} ground-truth instances of {image_name(data_sample.metainfo)} lie outside the image and are '
                'left out of the scores (said once). If the annotations are right, the pipeline loads them before '
                'Resize: LoadAnnotations belongs behind it, as in every test pipeline of MMDetection',
                logger='current',
                level=logging.WARNING,
            )
