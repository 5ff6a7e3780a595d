"""Semantic segmentation: one sample per image and class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mmsls.features.counts import IGNORE_INDEX, OUTSIDE, TOO_SMALL
from mmsls.features.image_frame import ImageFrame
from mmsls.features.recorder import BlockPass
from mmsls.features.records import Record
from mmsls.features.samplers import DataSampler, Sample, single_pass, weighted_means
from mmsls.features.semantic_map import check_classes, read_semantic_map
from mmsls.features.sliding_window import SlidingWindow, Window, check_grids, input_shape, region_weights
from mmsls.features.token_grid import integral_image


class RegionSampler(DataSampler):
    """Semantic segmentation: one sample per image and class, the mean of the block's tokens over that class's region.

    Every token weighs by the share of its area that the region covers, which is the mean of the feature map over the
    region's pixels (masked average pooling, Zhang et al., SG-One, 2018). So every block of a model has the same
    regions, however coarse its grid. In slide mode the tokens of all crops enter, each by what the region covers of it
    inside its crop.

    Args:
        min_tokens: Regions of a smaller area, in tokens of the finest grid, are left out.
        ignore_index: Label that is no class; None: every label is one.
        num_classes: Number of classes, to refuse labels beyond; None: not checked.
        crop_size: (height, width) of the crops in slide mode; None: whole mode.
        crop_stride: (down, right) from one crop to the next.

    Raises:
        ValueError: If a number is out of range.
    """

    name, unit = 'RegionSampler', 'regions'

    def __init__(
        self,
        min_tokens: float = 4,
        ignore_index: int | None = 255,
        num_classes: int | None = None,
        crop_size: Sequence[int] | None = None,
        crop_stride: Sequence[int] | None = None,
    ) -> None:
        if min_tokens <= 0:
            raise ValueError(f'min_tokens={min_tokens} must be positive; 4 is usual')
        if (crop_size is None) != (crop_stride is None):
            raise ValueError(f'crop_size={crop_size} and crop_stride={crop_stride}: set both (slide mode) or neither')
        super().__init__()
        self.scores_one_class = num_classes is not None and num_classes > 1  # a data set may name the foreground alone
        self.min_tokens, self.ignore_index, self.num_classes = min_tokens, ignore_index, num_classes
        crop = None if crop_size is None else (tuple(crop_size), tuple(crop_stride or ()))
        self.slide = None if crop is None else SlidingWindow(*crop)  # type: ignore[arg-type]

    @staticmethod
    def settings_of(model: nn.Module) -> dict[str, Any]:
        """Read from an MMSegmentation model what a config need not repeat: classes, ignored label, crops of slide mode.

        A head with one output channel tells foreground (1) from background (0), whether its num_classes is 1 or 2.
        """
        heads = getattr(model, 'decode_head', None)
        head = heads[-1] if isinstance(heads, nn.ModuleList) else heads  # the last one of a cascade predicts
        settings = {
            name: getattr(head, name)
            for name in ('ignore_index', 'num_classes')
            if getattr(head, name, None) is not None
        }
        if getattr(head, 'out_channels', None) == 1:
            settings['num_classes'] = 2
        test_cfg = getattr(model, 'test_cfg', None) or {}
        if test_cfg.get('mode') == 'slide':
            settings |= {'crop_size': test_cfg['crop_size'], 'crop_stride': test_cfg['stride']}
        return settings

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Record]) -> list[Sample]:
        """Sample every region of a batch.

        Args:
            passes: What the recorder took: one pass, or one per crop in slide mode.
            data_samples: The batch's `SegDataSample`s as `val_step` / `test_step` return them, ground truth in the
                original image's frame.
            records: Which records they are.

        Returns:
            Samples in the order of the images and of their classes.

        Raises:
            ValueError: If there is no ground truth, it does not fit the image or the classes, or the passes are not
                those expected.
        """
        windows = self._windows(passes, data_samples)
        new = self.new(data_samples, records)
        return [
            sample
            for index, item in enumerate(data_samples)
            for sample in self._sample(passes, windows, index, item, records[index], new[index])
        ]

    def check(self, data_sample: Any) -> None:
        """Refuse an image without a map that fits it and the classes.

        Raises:
            ValueError: If there is no map, one of another size, or one with other classes.
        """
        self.check_frames(data_sample.metainfo)
        read_semantic_map(data_sample, self.num_classes, self.ignore_index)

    def check_training(self, data_sample: Any) -> None:
        """Refuse a training crop with classes out of range; the host's loss fails on them without naming the image.

        Raises:
            ValueError: If it has other classes.
        """
        if data_sample.get('gt_sem_seg') is not None:
            check_classes(data_sample, self.num_classes, self.ignore_index)

    def _windows(self, passes: list[BlockPass], data_samples: Sequence[Any]) -> Sequence[Window | None]:
        """Return which part of the input each pass saw, None for all of it."""
        if self.slide is None:
            single_pass(passes, len(data_samples))
            return [None]
        # Images of a batch have one size: MMSegmentation's preprocessor demands it.
        shape = input_shape(data_samples[0].metainfo)
        windows = self.slide.windows(shape)
        if len(passes) != len(windows):
            raise ValueError(
                f'test_cfg.mode=slide cuts an input of {shape} into {len(windows)} crops, but the backbone ran '
                f'{len(passes)} times: score without --tta (tta_model, tta_pipeline), or test without SLSHook; and '
                'crop_size and crop_stride of the sampler, where set, must be those that the model runs with'
            )
        for one, window in zip(passes, windows, strict=True):
            single_pass([one], len(data_samples))
            check_grids(one, window)
        return windows

    def _sample(
        self,
        passes: list[BlockPass],
        windows: Sequence[Window | None],
        index: int,
        data_sample: Any,
        record: Record,
        new: bool,
    ) -> Iterable[Sample]:
        frame = self.frame(data_sample.metainfo, record)
        labels = read_semantic_map(data_sample, self.num_classes, self.ignore_index, record)
        if not new:
            self.count_repeated(record, len(np.unique(labels)))
            return
        grids = {(tokens.hw_shape, tokens.stride) for tokens in passes[0].values()}
        regions = self._regions(labels, frame, min((stride for _, stride in grids), default=1))
        if not regions:
            return
        weights = {grid: region_weights(list(regions.values()), frame, grid, windows) for grid in grids}
        features = {
            block: weighted_means(
                torch.cat([one[block].tokens[index] for one in passes]), weights[recorded.hw_shape, recorded.stride]
            )
            for block, recorded in passes[0].items()
        }
        for row, label in enumerate(regions):
            yield Sample((*record, label), label, {block: rows[row] for block, rows in features.items()})

    def _regions(self, labels: np.ndarray, frame: ImageFrame, stride: int) -> dict[int, np.ndarray]:
        """Return the integral image of every region that is large enough, by class, and count the others."""
        regions, skipped = {}, Counter[str]()
        for label, pixels in zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True):
            if label == self.ignore_index:
                skipped[IGNORE_INDEX] += 1
                continue
            integral = integral_image(labels == label) if frame.cropped else None
            seen = pixels if integral is None else frame.visible_area(integral)
            if seen <= 0:
                skipped[OUTSIDE] += 1
            elif abs(seen * frame.scale[0] * frame.scale[1]) / stride**2 < self.min_tokens:
                skipped[TOO_SMALL] += 1
            else:
                regions[label] = integral_image(labels == label) if integral is None else integral
        self.counts.add(len(regions), skipped)
        return regions
