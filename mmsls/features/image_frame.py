"""Where an image lies in the network's input.

Two frames meet here. Annotations lie in the **original** image's pixels, since test pipelines load them after
Resize. The network's **input** shows the original times `scale`, moved by `offset`: a negative scale mirrors, a
positive offset pads at the left or the top, a negative one crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsls.features.token_grid import Box, area_within, mask_coverage


@dataclass(frozen=True)
class ImageFrame:
    """Where an image lies in the network's input.

    Attributes:
        scale: Input pixels per original pixel, (x, y); negative where the image is mirrored.
        ori_shape: The image that the ground truth is given in, (height, width) in pixels.
        extent: (height, width) of the input, in pixels, at most; what a batch is padded with is not in it.
        offset: Input pixel of the original's corner (0, 0), (x, y).
    """

    scale: tuple[float, float]
    ori_shape: tuple[int, int]
    extent: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def from_metainfo(cls, metainfo: Mapping[str, Any]) -> ImageFrame:
        """Read the frame from a data sample's meta information.

        Raises:
            ValueError: If a needed entry is missing, or the image was flipped.
        """
        if metainfo.get('flip'):
            raise ValueError(
                f'flip={metainfo["flip"]}: the ground truth of a flipped image cannot be placed; take RandomFlip '
                'out of the pipeline that is scored'
            )
        missing = [name for name in ('ori_shape', 'img_shape', 'scale_factor') if metainfo.get(name) is None]
        if missing == ['scale_factor'] and tuple(metainfo['ori_shape'][:2]) == tuple(metainfo['img_shape'][:2]):
            missing = []  # a pipeline without Resize sets none
        if missing:
            raise ValueError(
                f'meta information lacks {missing}: add them to meta_keys of PackDetInputs or PackSegInputs'
            )
        scale_x, scale_y = np.broadcast_to(np.asarray(metainfo.get('scale_factor', 1.0), float).ravel()[:2], 2).tolist()
        height, width = metainfo['ori_shape'][:2]
        # img_shape includes what a Pad transform added (mmcv 2.x sets it anew), so the image itself may be smaller.
        extent = min(height * scale_y, metainfo['img_shape'][0]), min(width * scale_x, metainfo['img_shape'][1])
        return cls((scale_x, scale_y), (int(height), int(width)), extent)

    @property
    def bounds(self) -> Box:
        """The part of the input that shows the image: x1, y1, x2, y2."""
        (x1, x2), (y1, y2) = (
            (max(0.0, min(offset, offset + scale * length)), min(limit, max(offset, offset + scale * length)))
            for scale, offset, length, limit in zip(
                self.scale, self.offset, self.ori_shape[::-1], self.extent[::-1], strict=True
            )
        )
        return x1, y1, x2, y2

    @property
    def visible(self) -> Box:
        """The part of the original image that the input shows: x1, y1, x2, y2."""
        x1, y1, x2, y2 = self.bounds
        width, height = self.ori_shape[::-1]
        (left, right), (top, bottom) = (
            sorted(((low - offset) / scale, (high - offset) / scale))
            for low, high, scale, offset in zip((x1, y1), (x2, y2), self.scale, self.offset, strict=True)
        )
        seen = left, top, right, bottom
        # Sizes are rounded in a resize: what lacks less than a pixel is all there.
        whole = all(abs(one - other) < 1 for one, other in zip(seen, (0, 0, width, height), strict=True))
        return (0.0, 0.0, float(width), float(height)) if whole else seen

    @property
    def cropped(self) -> bool:
        """Whether the input shows a part of the image only."""
        return self.visible != (0.0, 0.0, float(self.ori_shape[1]), float(self.ori_shape[0]))

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Move boxes (N, 4: x1, y1, x2, y2) from the original to the input, clipped to what it shows of the image."""
        moved = boxes.astype(np.float64) * np.tile(self.scale, 2) + np.tile(self.offset, 2)
        moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)
        bounds = np.array(self.bounds)
        return np.clip(moved, np.tile(bounds[:2], 2), np.tile(bounds[2:], 2))

    def overlaps(self, boxes: np.ndarray) -> np.ndarray:
        """Tell which boxes (N, 4) of the original frame share a point with what the input shows of the image."""
        x1, y1, x2, y2 = self.visible
        return (boxes[:, 0] < x2) & (boxes[:, 1] < y2) & (boxes[:, 2] > x1) & (boxes[:, 3] > y1)

    def coverage(
        self, integral: np.ndarray, hw_shape: tuple[int, int], stride: int, window: Box | None = None
    ) -> np.ndarray:
        """Measure which share of each token a mask of the original frame covers; see `mask_coverage`."""
        bounds = self.bounds if self.cropped else None
        return mask_coverage(integral, self.scale, hw_shape, stride, window, self.offset, bounds)

    def visible_area(self, integral: np.ndarray) -> float:
        """Return how many pixels of a mask the input shows, given its integral image."""
        if not self.cropped:
            return float(integral[-1, -1])
        return area_within(integral, self.visible)


def said_frame(metainfo: Mapping[str, Any]) -> ImageFrame | None:
    """Return the frame that scale_factor tells of; None where the meta information tells of a flip, or of no scale."""
    scaled = metainfo.get('scale_factor') is not None
    if metainfo.get('flip') or not (scaled or tuple(metainfo['ori_shape'][:2]) == tuple(metainfo['img_shape'][:2])):
        return None
    return ImageFrame.from_metainfo(metainfo)


def check_shapes(metainfo: Mapping[str, Any]) -> None:
    """Refuse meta information without the sizes.

    Raises:
        ValueError: Naming what is missing.
    """
    missing = [name for name in ('ori_shape', 'img_shape') if metainfo.get(name) is None]
    if missing:
        raise ValueError(f'meta information lacks {missing}: add them to meta_keys of PackDetInputs or PackSegInputs')
