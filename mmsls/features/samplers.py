"""What every sampler shares: it turns the recorded tokens of a batch into labelled features; one sampler per task.

A sampler sees what a validation loop has after each iteration: the recorded passes, the data samples that the model
returned, and which records of the data set they are. It does not know the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mmsls.features.counts import REPEATED, Counts
from mmsls.features.data_view import DataView
from mmsls.features.image_frame import ImageFrame
from mmsls.features.keys import Key
from mmsls.features.recorder import BlockPass
from mmsls.features.records import PaddedRecord, Record, RepeatedRecord
from mmsls.scoring import BlockId


@dataclass(frozen=True)
class Sample:
    """One labelled point for the scores.

    Attributes:
        key: Data set, record and number within the record; the same sample has the same key in every process.
        label: Class index.
        features: Per block a vector (C,), float32.
    """

    key: Key
    label: int
    features: dict[BlockId, np.ndarray]


class Sampler(Protocol):
    """What makes samples of one batch.

    Attributes:
        name: What the pruning index records.
        default_scope: Scope of the rule where none is set: `'model'` or `'stage'`.
        default_split: Split that is scored where none is named: `'train'` or `'val'`.
        scores_one_class: Whether there is something to tell apart in a data set of one class.
        counts: What became of everything that was offered since `prepare`, in this process.
    """

    name: str
    default_scope: str
    default_split: str
    scores_one_class: bool
    counts: Counts

    def prepare(self, dataset: Any) -> None:
        """Begin with a data set: count anew, and refuse pipelines whose images cannot be told apart or placed."""

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Record]) -> list[Sample]:
        """Return one batch's samples, given recorded passes, the model's data samples, and which records they are."""

    def check(self, data_sample: Any) -> None:
        """Refuse an image whose ground truth is absent or wrong, before the host's own metric stumbles over it."""


class DataSampler:
    """What the samplers share: they know the data set that is scored, and count.

    Without `prepare` places follow the meta information alone, and nothing is checked against the data set.
    """

    unit = 'samples'
    placed = True
    """Whether places in the image matter."""
    use_masks: Any = True
    """Whether masks or maps are used; False: boxes alone."""

    default_scope, default_split = 'stage', 'val'
    scores_one_class = False

    def __init__(self) -> None:
        self.counts = Counts(self.unit)
        self.view: DataView | None = None

    def prepare(self, dataset: Any) -> None:
        """Begin with a data set.

        Raises:
            ValueError: If its pipeline mixes images, or moves things in a way that cannot be followed.
        """
        self.counts = Counts(self.unit)
        if self.view is None or self.view.dataset is not dataset:
            self.view = DataView(dataset, self.placed, self.use_masks is not False)

    def frame(self, metainfo: Mapping[str, Any], record: Record) -> ImageFrame:
        """Return where an image lies in the network's input.

        Raises:
            ValueError: If it cannot be known.
        """
        return ImageFrame.from_metainfo(metainfo) if self.view is None else self.view.frame(metainfo, record)

    def check_frames(self, metainfo: Mapping[str, Any]) -> list[ImageFrame]:
        """Return the frames that an image's ground truth may be in.

        Raises:
            ValueError: If meta information is missing.
        """
        return [ImageFrame.from_metainfo(metainfo)] if self.view is None else self.view.check_frames(metainfo)

    def new(self, data_samples: Sequence[Any], records: Sequence[Record]) -> list[bool]:
        """Tell which images of a batch are not there for a second time.

        Raises:
            ValueError: If there are not as many records as images, or an image is not the record that it should be.
        """
        for item, record in zip(data_samples, records, strict=True):
            if self.view is not None:
                self.view.check_same_record(item.metainfo, record)
        return [not isinstance(record, RepeatedRecord) for record in records]

    def count_repeated(self, record: Record, number: int) -> None:
        """Count what is skipped of an image that is there again.

        Padding is no part of the data, and depends on the number of processes.
        """
        if not isinstance(record, PaddedRecord):
            self.counts.add(0, Counter({REPEATED: number}))


def single_pass(passes: list[BlockPass], batch_size: int) -> BlockPass:
    """Return the only pass of a batch.

    Raises:
        ValueError: If the backbone ran never or more than once, or on another number of images.
    """
    if not passes:
        raise ValueError('no forward of the backbone was recorded for this batch: attach the FeatureRecorder before it')
    if len(passes) > 1:
        raise ValueError(
            f'the backbone ran {len(passes)} times for one batch, as test-time augmentation does, so its tokens have '
            'no single place in the image: score without --tta (tta_model, tta_pipeline), or test without SLSHook'
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
    chosen = tokens[used.to(tokens.device)].float()
    with torch.autocast(tokens.device.type, enabled=False):
        return (flat[:, used].to(tokens.device) @ chosen).cpu().numpy()
