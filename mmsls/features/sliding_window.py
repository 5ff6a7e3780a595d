"""Where sliding-window inference's crops lie, as MMSegmentation cuts them, and what a region covers of their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsls.features.image_frame import ImageFrame
from mmsls.features.recorder import BlockPass

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the network's input."""
Grid = tuple[tuple[int, int], int]
"""Shape of a token grid and its stride."""


@dataclass(frozen=True)
class SlidingWindow:
    """The settings of slide mode (`test_cfg` of an MMSegmentation model).

    Attributes:
        crop_size: (height, width) of a crop in pixels.
        stride: (down, right) from one crop to the next in pixels; the last one is moved back into the image.

    Raises:
        ValueError: If a number is not positive.
    """

    crop_size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if min(*self.crop_size, *self.stride) < 1:
            raise ValueError(f'test_cfg: crop_size={self.crop_size} and stride={self.stride} must be positive')

    def windows(self, input_shape: tuple[int, int]) -> list[Window]:
        """Return the crops of an input (height, width), in the order in which the backbone sees them.

        Example:
            >>> SlidingWindow(crop_size=(4, 4), stride=(4, 3)).windows((4, 9))
            [(0, 0, 4, 4), (3, 0, 7, 4), (5, 0, 9, 4)]
        """
        rows, columns = (
            _spans(length, crop, stride)
            for length, crop, stride in zip(input_shape, self.crop_size, self.stride, strict=True)
        )
        return [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]


def _spans(length: int, crop: int, stride: int) -> list[tuple[int, int]]:
    crop = min(crop, length)
    starts = [*range(0, length - crop, stride), length - crop]
    return [(start, start + crop) for start in starts]


def input_shape(metainfo: Mapping[str, Any]) -> tuple[int, int]:
    """Return the (height, width) of what the network saw, from a data sample's meta information of MMSegmentation.

    Only padding by the data preprocessor's own `test_cfg` comes after `img_shape`; `pad_shape` may be an older one.
    """
    height, width = metainfo['pad_shape' if 'img_padding_size' in metainfo else 'img_shape'][:2]
    return int(height), int(width)


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
        [np.concatenate([frame.coverage(region, *grid, window) for window in windows]) for region in regions]
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
                    f'block {block} gave a grid of {recorded.hw_shape} tokens of {recorded.stride} pixels for a crop '
                    f'of {(y2 - y1, x2 - x1)}: crop_size and crop_stride of the sampler must be those that the model '
                    'runs with'
                )
