"""Where the crops of sliding-window inference lie, as MMSegmentation cuts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the network's input."""


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
