"""Which tokens of a grid belong to a box or a mask: plain geometry in numpy.

Token (i, j) covers rows [i * stride, (i + 1) * stride) and columns [j * stride, (j + 1) * stride) of the network's
input; where an image lies in that says `ImageFrame`.
"""

from __future__ import annotations

import numpy as np

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2."""


def box_weights(boxes: np.ndarray, hw_shape: tuple[int, int], stride: int) -> np.ndarray:
    """Weigh the tokens of each box: equally those whose centre lies in it.

    On an axis along which a box is so thin that no centre lies in it, the token nearest to the box's middle stands in.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2 in the input, clipped to the image.
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
    window: Box | None = None,
    offset: tuple[float, float] = (0.0, 0.0),
    bounds: Box | None = None,
) -> np.ndarray:
    """Measure exactly which share of each token's area a mask covers, without resizing the mask.

    Args:
        integral: Integral image of the mask in the original frame.
        scale: Input pixels per original pixel, (x, y); negative where the image is mirrored.
        hw_shape: Token grid (H, W).
        stride: Side of a token in input pixels.
        window: x1, y1, x2, y2 in input pixels of the crop that the tokens come from; None for the whole input.
        offset: Input pixel of the original's corner (0, 0), (x, y).
        bounds: What the input shows of the image, x1, y1, x2, y2; None: all of it.

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
    if bounds is not None:  # beyond a crop's border lies padding, not the rest of the image
        horizontal, vertical = np.clip(horizontal, *bounds[::2]), np.clip(vertical, *bounds[1::2])
    rows = _sample_axis(integral, (vertical - offset[1]) / scale[1])
    sums = _sample_axis(rows.T, (horizontal - offset[0]) / scale[0]).T  # (H + 1, W + 1)
    area = np.diff(np.diff(sums, axis=0), axis=1)
    # Rounded, so that a token covered to exactly one half is so on every machine.
    return np.round(area * scale[0] * scale[1] / stride**2, 6)


def area_within(integral: np.ndarray, box: Box) -> float:
    """Return how many pixels of a mask lie in a box of its own frame, given the mask's integral image."""
    x1, y1, x2, y2 = box
    rows = _sample_axis(integral, np.array([y1, y2]))
    sums = _sample_axis(rows.T, np.array([x1, x2])).T
    return float(sums[1, 1] - sums[0, 1] - sums[1, 0] + sums[0, 0])


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
