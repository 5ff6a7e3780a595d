"""The real digits behind the demo: scikit-learn's 1797 bundled handwritten 8x8 images, in three disjoint pools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

# The pools never depend on a caller's seed: what a base is pre-trained on must stay out of every val and test scene.
_POOL_SEED = 0
_POOL_SHARES = {'train': 2 / 3, 'val': 1 / 6, 'test': 1 / 6}


@dataclass(frozen=True)
class DigitPool:
    """The digits that one split may use.

    Attributes:
        images: Ink of shape (n, 8, 8), float32 in [0, 1], 0 is paper.
        labels: Digit classes of shape (n,), 0 to 9.
        indices: Rows of ``sklearn.datasets.load_digits()``, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def load_digit_pools() -> dict[str, DigitPool]:
    """Split the bundled digits into the pools ``train``, ``val`` and ``test``, disjoint and always the same.

    Example:
        >>> pools = load_digit_pools()
        >>> {name: len(pool.labels) for name, pool in pools.items()}
        {'train': 1198, 'val': 299, 'test': 300}
    """
    from sklearn.datasets import load_digits  # slow to import, and needed only when the demo is made

    digits = load_digits()
    order = np.random.default_rng(_POOL_SEED).permutation(len(digits.target))
    ends = np.round(np.cumsum(list(_POOL_SHARES.values())[:-1]) * len(order)).astype(int)
    return {
        name: DigitPool((digits.images[rows] / 16).astype(np.float32), digits.target[rows], rows)
        for name, rows in zip(_POOL_SHARES, np.split(order, ends), strict=True)
    }


def render_digit(ink: np.ndarray, size: int, angle: float = 0.0) -> np.ndarray:
    """Enlarge one 8x8 digit to a smooth glyph, cropped to its ink.

    Args:
        ink: Ink of shape (8, 8) in [0, 1].
        size: Side in pixels that the 8x8 grid is enlarged to.
        angle: Counter-clockwise rotation in degrees.

    Returns:
        Opacity of shape (h, w), float32 in [0, 1]; each border row and column has a pixel of at least 0.5.

    Example:
        >>> ink = np.zeros((8, 8)); ink[1:7, 3:5] = 1
        >>> glyph = render_digit(ink, 40)
        >>> glyph.shape, float(glyph.max())
        ((30, 12), 1.0)
    """
    # One empty pixel around the grid keeps strokes that touch its border round after the interpolation.
    padded = np.pad(np.round(np.asarray(ink) * 255).astype(np.uint8), 1)
    side = round(size * 10 / 8)
    picture = Image.fromarray(padded).resize((side, side), Image.Resampling.BICUBIC)
    picture = picture.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    # Steeper than the interpolation, so that a glyph has an edge and not a halo.
    opacity = np.clip((np.asarray(picture, np.float32) / 255 - 0.2) * 2.5, 0, 1)
    rows, columns = np.nonzero(opacity >= 0.5)
    return opacity[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
