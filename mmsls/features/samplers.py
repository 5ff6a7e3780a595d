"""Turn the recorded tokens of a batch into labelled features; one sampler per task.

A sampler sees what a validation loop has after each iteration: the recorded passes and the data samples that the model
returned. It knows neither the model nor the data set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from mmsls.features.ground_truth import image_name, read_instances
from mmsls.features.keys import Key
from mmsls.features.recorder import BlockPass
from mmsls.features.token_grid import ImageFrame
from mmsls.scoring import BlockId


@dataclass(frozen=True)
class Sample:
    """One labelled point for the scores.

    Attributes:
        key: image path and number within the image; the same sample has the same key in every process.
        label: class index.
        features: per block a vector (C,), float32.
    """

    key: Key
    label: int
    features: dict[BlockId, np.ndarray]


class Sampler(Protocol):
    """What makes samples of one batch.

    Attributes:
        name: what the pruning index records.
    """

    name: str

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any]) -> list[Sample]:
        """Return the samples of one batch, given the recorded passes and the data samples that the model returned."""


class InstanceSampler:
    """Detection and instance segmentation: one sample per ground-truth instance.

    The feature is the mean of a block's tokens inside the box, or inside the mask where there are masks; a box or a
    mask smaller than a token takes the nearest one. Instances marked as ignored are no samples.

    Args:
        use_masks: `'auto'` takes masks where the ground truth has them, True demands them, False takes boxes always.

    Raises:
        ValueError: if `use_masks` is anything else.
    """

    name = 'InstanceSampler'

    def __init__(self, use_masks: bool | Literal['auto'] = 'auto') -> None:
        if use_masks not in (True, False, 'auto'):
            raise ValueError(f"use_masks={use_masks!r} must be True, False or 'auto'")
        self.use_masks = use_masks
        self._warned = False

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any]) -> list[Sample]:
        """Sample every instance of a batch.

        Args:
            passes: what the recorder took; one pass.
            data_samples: the batch's `DetDataSample`s as `val_step` / `test_step` return them, ground truth in the
                original image's frame.

        Returns:
            Samples in the order of the images and of their `gt_instances`.

        Raises:
            ValueError: if there is no ground truth, or more or fewer than one pass.
        """
        blocks = single_pass(passes, len(data_samples))
        return [sample for index, item in enumerate(data_samples) for sample in self._sample(blocks, index, item)]

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


def single_pass(passes: list[BlockPass], batch_size: int) -> BlockPass:
    """Return the only pass of a batch.

    Raises:
        ValueError: if the backbone ran never or more than once, or on another number of images.
    """
    if not passes:
        raise ValueError('no forward of the backbone was recorded for this batch: attach the FeatureRecorder before it')
    if len(passes) > 1:
        raise ValueError(
            f'the backbone ran {len(passes)} times for one batch, as test-time augmentation does, so its tokens have '
            'no single place in the image: score without --tta (tta_model, tta_pipeline)'
        )
    for block, recorded in passes[0].items():
        batch, length = recorded.tokens.shape[:2]
        height, width = recorded.hw_shape
        if batch != batch_size or length != height * width:
            raise ValueError(
                f'block {block} gave {batch} images of {length} tokens for {batch_size} data samples and a grid of '
                f'{height} x {width}: the backbone sees other images than the data samples describe'
            )
    return passes[0]


def weighted_means(tokens: Tensor, weights: np.ndarray) -> np.ndarray:
    """Average tokens with each row of weights, in float32 whatever the precision of the tokens.

    Args:
        tokens: (L, C), any float type and device.
        weights: (N, H, W) with H * W = L.

    Returns:
        (N, C) float32.
    """
    flat = torch.from_numpy(weights).flatten(1)
    # Only tokens that some instance uses enter: cheaper, and the sum does not depend on how far the batch was padded.
    used = flat.any(dim=0).nonzero().squeeze(1)
    chosen = tokens.detach()[used.to(tokens.device)].float()
    with torch.autocast(tokens.device.type, enabled=False):
        return (flat[:, used].to(tokens.device) @ chosen).cpu().numpy()
