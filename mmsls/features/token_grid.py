"""Which tokens of a grid belong to a box or a mask: plain geometry in numpy.

Three frames meet here. Annotations lie in the **original** image's pixels, since test pipelines load them after
Resize. The **resized** image is the original times `scale`, its top left corner in place. The network sees it
**padded** at the right and the bottom; token (i, j) covers rows [i * stride, (i + 1) * stride) and columns
[j * stride, (j + 1) * stride) of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageFrame:
    """Where an image lies in the network's input.

    Attributes:
        scale: Resized pixels per original pixel, (x, y).
        ori_shape: Original image, (height, width) in pixels.
        extent: (height, width) of the image in the input, in resized pixels, padding excluded.
    """

    scale: tuple[float, float]
    ori_shape: tuple[int, int]
    extent: tuple[float, float]

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

    def to_resized(self, boxes: np.ndarray) -> np.ndarray:
        """Move boxes (N, 4) as x1, y1, x2, y2 from the original to the resized frame and clip them to the image."""
        height, width = self.extent
        scale = np.tile(self.scale, 2)
        return np.clip(boxes.astype(np.float64) * scale, 0, [width, height, width, height])

    def overlaps(self, boxes: np.ndarray) -> np.ndarray:
        """Tell which boxes (N, 4) of the original frame share a point with the image; those that don't show nothing."""
        height, width = self.ori_shape
        return (boxes[:, 0] < width) & (boxes[:, 1] < height) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)


def box_weights(boxes: np.ndarray, hw_shape: tuple[int, int], stride: int) -> np.ndarray:
    """Weigh the tokens of each box: equally those whose centre lies in it.

    On an axis along which a box is so thin that no centre lies in it, the token nearest to the box's middle stands in.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2 in the resized frame, clipped to the image.
        hw_shape: Token grid (H, W).
        stride: Side of a token in pixels.

    Returns:
        (N, H, W) float32; every box's weights sum to 1.

    Example:
        >>> box_weights(np.array([[0.0, 0.0, 8.0, 5.0], [5.0, 1.0, 6.0, 2.0]]), (2, 3), stride=4)[:, 0]
        array([[0.5, 0.5, 0. ],
               [0. , 1. , 0. ]], dtype=float32)
    """
    columns = _axis_weights(boxes[:, 0], boxes[:, 2], hw_shape[1], stride)
    rows = _axis_weights(boxes[:, 1], boxes[:, 3], hw_shape[0], stride)
    return (rows[:, :, None] * columns[:, None, :]).astype(np.float32)


def _axis_weights(low: np.ndarray, high: np.ndarray, count: int, stride: int) -> np.ndarray:
    centres = (np.arange(count) + 0.5) * stride
    inside = (low[:, None] <= centres) & (centres < high[:, None])  # (N, count)
    # A box at the far border, clipped to its line, would fall on the first token of the padding: hence the ceil - 1.
    middle = (low + high) / 2
    nearest = np.clip(np.ceil(middle / stride) - 1, 0, count - 1).astype(int)
    thin = ~inside.any(axis=1)
    inside[thin, nearest[thin]] = True
    return inside / inside.sum(axis=1, keepdims=True)


def integral_image(mask: np.ndarray) -> np.ndarray:
    """Sum a mask (h, w) over all pixels above and to the left: (h + 1, w + 1), its first row and column zero."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(mask != 0, axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])
    return sums


def mask_coverage(
    integral: np.ndarray,
    scale: tuple[float, float],
    hw_shape: tuple[int, int],
    stride: int,
    window: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Measure exactly which share of each token's area a mask covers, without resizing the mask.

    Args:
        integral: Integral image of the mask in the original frame.
        scale: Resized pixels per original pixel, (x, y).
        hw_shape: Token grid (H, W).
        stride: Side of a token in resized pixels.
        window: x1, y1, x2, y2 in resized pixels of the crop that the tokens come from; None for the whole input.

    Returns:
        (H, W) in [0, 1]; the padding, and what lies outside the window, count as not covered.

    Example:
        >>> mask = np.array([[1, 1, 0], [1, 1, 0]])
        >>> mask_coverage(integral_image(mask), scale=(2.0, 2.0), hw_shape=(1, 2), stride=4)
        array([[1., 0.]])
    """
    x1, y1, x2, y2 = window or (0, 0, np.inf, np.inf)
    vertical = np.minimum(y1 + np.arange(hw_shape[0] + 1) * stride, y2)
    horizontal = np.minimum(x1 + np.arange(hw_shape[1] + 1) * stride, x2)
    rows = _sample_axis(integral, vertical / scale[1])
    sums = _sample_axis(rows.T, horizontal / scale[0]).T  # (H + 1, W + 1)
    area = np.diff(np.diff(sums, axis=0), axis=1)
    # Rounded, so that a token covered to exactly one half is so on every machine.
    return np.round(area * scale[0] * scale[1] / stride**2, 6)


def _sample_axis(integral: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Read an integral image at fractional rows; linear interpolation is exact, since a pixel is constant inside."""
    last = len(integral) - 1
    edges = np.clip(edges, 0, last)
    low = np.minimum(edges.astype(int), last - 1)
    part = (edges - low)[:, None]
    return integral[low] * (1 - part) + integral[low + 1] * part


def mask_weights(coverage: np.ndarray) -> np.ndarray:
    """Weigh equally the tokens that a mask covers by more than one half; if there is none, the most covered one.

    Args:
        coverage: (H, W) in [0, 1], not all zero.

    Returns:
        (H, W) float32 that sums to 1.
    """
    inside = coverage > 0.5
    if not inside.any():
        inside.flat[coverage.argmax()] = True
    return (inside / inside.sum()).astype(np.float32)
