"""Where a chain of transforms puts the points of an image, found by letting it transform coordinates."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Shape = tuple[int, int]
"""(height, width)."""

# An image whose brightness is a pixel's distance from the left, or from the top, comes out with every pixel saying
# where it came from.
_LEVELS = 250.0
# Pixels looked at per axis, in the fit.
_LOOKS = 64


@dataclass(frozen=True)
class AxisMap:
    """A map of points that takes the axes to themselves: x -> scale * x + offset, and so for y.

    Attributes:
        scale: (x, y), negative where mirrored.
        offset: (x, y).
    """

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def box(self, box: np.ndarray) -> np.ndarray:
        """Move a box, (4,) as x1, y1, x2, y2."""
        corners = box.reshape(2, 2) * self.scale + self.offset
        return np.concatenate([corners.min(0), corners.max(0)])

    def agrees(self, other: AxisMap, shape: Shape, tolerance: float = 0.5) -> bool:
        """Whether two maps take the corners of an image (height, width) to the same places, within part of a pixel."""
        image = np.array([0, 0, shape[1], shape[0]], dtype=float).reshape(2, 2)
        ends = [image * one.scale + one.offset for one in (self, other)]
        return bool((np.abs(ends[0] - ends[1]) <= tolerance).all())


class NoMapError(ValueError):
    """The transforms move points in a way that is no such map, or leave nothing of the image."""


def measure(transform: Callable[[np.ndarray], np.ndarray], shape: Shape) -> tuple[AxisMap, Shape]:
    """Measure where a transform puts the points of an image.

    Args:
        transform: Takes an image (h, w, 3) and returns what it becomes; four times the same way.
        shape: The image's (h, w).

    Returns:
        The map, and the (height, width) of what comes out.

    Raises:
        NoMapError: If the transform is none that takes axes to axes.
    """
    try:
        return _measure(transform, shape, np.float32)
    except NoMapError:
        raise
    except (
        Exception
    ):  # some transforms take bytes alone (mmcv's Pillow backend); what fails on them too is the transform's own fault
        return _measure(transform, shape, np.uint8)


def _measure(transform: Callable[[np.ndarray], np.ndarray], shape: Shape, dtype: Any) -> tuple[AxisMap, Shape]:
    height, width = shape
    x, y = (
        np.broadcast_to(level, shape)
        for level in ((np.arange(width) + 0.5) / width, ((np.arange(height) + 0.5) / height)[:, None])
    )
    black, white, across, down = (
        _grey(transform(_image(level, dtype))) for level in (np.zeros(shape), np.ones(shape), x, y)
    )
    if len({one.shape for one in (black, white, across, down)}) > 1:
        raise NoMapError('gives images of different sizes for one size')
    contrast = white - black
    seen = np.abs(contrast) > 0.5 * max(np.abs(contrast).max(), 1e-6)
    rows, columns = np.nonzero(seen)
    if not len(rows):
        raise NoMapError('leaves nothing of the image')
    picked = _spread(rows, columns)
    rows, columns = rows[picked], columns[picked]
    sources = [
        (one[rows, columns] - black[rows, columns]) / contrast[rows, columns] * length
        for one, length in ((across, width), (down, height))
    ]
    slack = 1.0 if dtype is np.float32 else 1.0 + max(shape) / _LEVELS
    (scale_x, offset_x), (scale_y, offset_y) = (
        _fit_axis(sources, axis, columns + 0.5, rows + 0.5, shape[::-1], slack) for axis in range(2)
    )
    return AxisMap((scale_x, scale_y), (offset_x, offset_y)), (int(black.shape[0]), int(black.shape[1]))


def _image(level: np.ndarray, dtype: Any) -> np.ndarray:
    values = level * _LEVELS
    return np.repeat((values if dtype is np.float32 else np.round(values)).astype(dtype)[..., None], 3, axis=2)


def _grey(image: Any) -> np.ndarray:
    image = np.asarray(image.cpu() if isinstance(image, torch.Tensor) else image).astype(np.float64)
    image = image.mean(axis=2) if image.ndim == 3 else image
    if image.ndim != 2:
        raise NoMapError(f'gives an image of shape {image.shape}')
    return image


def _spread(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Pick pixels spread evenly over those seen, at most _LOOKS lines each way."""
    keep = np.ones(len(rows), dtype=bool)
    for lines in (rows, columns):
        low, high = lines.min(), lines.max()
        wanted = np.unique(np.linspace(low, high, min(_LOOKS, high - low + 1)).round().astype(int))
        keep &= np.isin(lines, wanted)
    return np.flatnonzero(keep) if keep.any() else np.arange(len(rows))


def _fit_axis(
    sources: list[np.ndarray], axis: int, u: np.ndarray, v: np.ndarray, size: tuple[int, int], slack: float
) -> tuple[float, float]:
    """Fit source = a * pixel + b along one axis, away from the border, where interpolation stops short."""
    inner = np.ones(len(u), dtype=bool)
    for source, length in zip(sources, size, strict=True):
        margin = min(2.0, length / 4)
        inner &= (source >= margin) & (source <= length - margin)
    if inner.sum() < 4:
        raise NoMapError('leaves next to nothing of the image')
    source, across, along = sources[axis][inner], (u, v)[axis][inner], (v, u)[axis][inner]
    if np.ptp(across) < 1:
        raise NoMapError('leaves less than two pixels of the image')
    design = np.stack([across, along, np.ones_like(across)], axis=1)
    (slope, other, start), *_ = np.linalg.lstsq(design, source, rcond=None)
    tilt = abs(other) * (np.ptp(along) + 1)
    off = np.abs(design @ np.array([slope, other, start]) - source)
    if slope == 0 or tilt > slack or np.percentile(off, 99) > slack + 0.6 * abs(slope):
        raise NoMapError('moves points other than by scaling, mirroring and shifting')
    start += other * along.mean()
    return float(1 / slope), float(-start / slope)


def seeded(seed: int) -> None:
    """Set the random states that transforms draw from; keep the run's own with `same_random_state`."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # not those of other devices, which are not kept
