"""Semantic segmentation: one sample per image and class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mmsls.features.ground_truth import check_classes, image_name, read_semantic_map
from mmsls.features.recorder import BlockPass
from mmsls.features.samplers import Sample, single_pass, weighted_means
from mmsls.features.sliding_window import SlidingWindow, Window, input_shape
from mmsls.features.token_grid import ImageFrame, integral_image, mask_coverage

Grid = tuple[tuple[int, int], int]
"""Shape of a token grid and its stride."""


class RegionSampler:
    """Semantic segmentation: one sample per image and class, the mean of the block's tokens over that class's region.

    Every token weighs by the share of its area that the region covers, which is the mean of the feature map over the region's pixels (masked
    average pooling, Zhang et al., SG-One, 2018). So every block of a model has the same regions, however coarse its grid. In slide mode the
    tokens of all crops enter, each by what the region covers of it inside its crop.

    Args:
        min_tokens: Regions of a smaller area, in tokens of the finest grid, are left out.
        ignore_index: Label that is no class; None: every label is one.
        num_classes: Number of classes, to refuse labels beyond; None: not checked.
        crop_size: (height, width) of the crops in slide mode; None: whole mode.
        crop_stride: (down, right) from one crop to the next.

    Raises:
        ValueError: If a number is out of range.
    """

    name = 'RegionSampler'
    default_scope, default_split = 'stage', 'val'

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
        self.min_tokens, self.ignore_index, self.num_classes = min_tokens, ignore_index, num_classes
        self.slide = None if crop_size is None else SlidingWindow(tuple(crop_size), tuple(crop_stride or ()))  # type: ignore[arg-type]

    @staticmethod
    def settings_of(model: nn.Module) -> dict[str, Any]:
        """Read from an MMSegmentation model what a config need not repeat: classes, ignored label, crops of slide mode."""
        heads = getattr(model, 'decode_head', None)
        head = heads[-1] if isinstance(heads, nn.ModuleList) else heads  # the last one of a cascade predicts
        settings = {
            name: getattr(head, name)
            for name in ('ignore_index', 'num_classes')
            if getattr(head, name, None) is not None
        }
        test_cfg = getattr(model, 'test_cfg', None) or {}
        if test_cfg.get('mode') == 'slide':
            settings |= {'crop_size': test_cfg['crop_size'], 'crop_stride': test_cfg['stride']}
        return settings

    def __call__(
        self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Any] = ()
    ) -> list[Sample]:
        """Sample every region of a batch.

        Args:
            passes: What the recorder took: one pass, or one per crop in slide mode.
            data_samples: The batch's `SegDataSample`s as `val_step` / `test_step` return them, ground truth in the original image's frame.

        Returns:
            Samples in the order of the images and of their classes.

        Raises:
            ValueError: If there is no ground truth, it does not fit the image or the classes, or the passes are not those expected.
        """
        windows = self._windows(passes, data_samples)
        return [
            sample for index, item in enumerate(data_samples) for sample in self._sample(passes, windows, index, item)
        ]

    def check(self, data_sample: Any) -> None:
        """Refuse an image without a map that fits it and the classes.

        Raises:
            ValueError: If there is no map, one of another size, or one with other classes.
        """
        read_semantic_map(
            data_sample, ImageFrame.from_metainfo(data_sample.metainfo), self.num_classes, self.ignore_index
        )

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
                f'test_cfg.mode=slide cuts an input of {shape} into {len(windows)} crops, but the backbone ran {len(passes)} times: score '
                'without --tta (tta_model, tta_pipeline), or test without SLSHook; and crop_size and crop_stride of the sampler, where set, must '
                'be those that the model runs with'
            )
        for one, window in zip(passes, windows, strict=True):
            single_pass([one], len(data_samples))
            check_grids(one, window)
        return windows

    def _sample(
        self, passes: list[BlockPass], windows: Sequence[Window | None], index: int, data_sample: Any
    ) -> Iterable[Sample]:
        frame = ImageFrame.from_metainfo(data_sample.metainfo)
        labels = read_semantic_map(data_sample, frame, self.num_classes, self.ignore_index)
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
        path = image_name(data_sample.metainfo)
        for row, label in enumerate(regions):
            yield Sample((path, label), label, {block: rows[row] for block, rows in features.items()})

    def _regions(self, labels: np.ndarray, frame: ImageFrame, stride: int) -> dict[int, np.ndarray]:
        """Return the integral image of every region that is large enough, by class."""
        classes, pixels = np.unique(labels, return_counts=True)
        tokens = pixels * frame.scale[0] * frame.scale[1] / stride**2
        large = classes[
            (tokens >= self.min_tokens) & (classes != (-1 if self.ignore_index is None else self.ignore_index))
        ]
        return {label: integral_image(labels == label) for label in large.tolist()}


def region_weights(
    regions: Sequence[np.ndarray], frame: ImageFrame, grid: Grid, windows: Sequence[Window | None]
) -> np.ndarray:
    """Weigh the tokens of all windows for each region by the area that it covers of them.

    Args:
        regions: Integral images of the regions in the original frame.
        frame: Where the image lies.
        grid: Token grid (H, W) of one window, and its stride.
        windows: Which part of the input each grid covers.

    Returns:
        (N, windows * H, W) float32; every region's weights sum to 1.
    """
    coverage = np.stack(
        [
            np.concatenate([mask_coverage(region, frame.scale, *grid, window) for window in windows])
            for region in regions
        ]
    )
    return (coverage / coverage.sum(axis=(1, 2), keepdims=True)).astype(np.float32)


def check_grids(blocks: BlockPass, window: Window) -> None:
    """Refuse token grids that don't fit the crop they should come from.

    Raises:
        ValueError: If a grid is a token or more larger or smaller than the crop.
    """
    x1, y1, x2, y2 = window
    for block, recorded in blocks.items():
        for count, length in zip(recorded.hw_shape, (y2 - y1, x2 - x1), strict=True):
            if abs(count * recorded.stride - length) >= recorded.stride:
                raise ValueError(
                    f'block {block} gave a grid of {recorded.hw_shape} tokens of {recorded.stride} pixels for a crop of {(y2 - y1, x2 - x1)}: '
                    'crop_size and crop_stride of the sampler must be those that the model runs with'
                )
