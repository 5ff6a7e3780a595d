"""Draw one scene: a textured background, clutter, and handwritten digits whose masks never meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mmsls.demo.digits import DigitPool, render_digit

BACKGROUND = 10
"""Value of the semantic maps where no digit is; 0 to 9 are the digits."""
_MAX_TRIES = 30
_MAX_BOX_OVERLAP = 0.1  # as a share of the smaller box
_MIN_CONTRAST = 70.0  # grey levels between a digit and what it lies on


@dataclass(frozen=True)
class SceneDigit:
    """One digit in a scene.

    Attributes:
        label: Class, 0 to 9.
        mask: Its pixels, bool of shape (H, W).
        source: Row of ``sklearn.datasets.load_digits()``.
    """

    label: int
    mask: np.ndarray
    source: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x, y, width, height) in whole pixels."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def draw_scene(
    pool: DigitPool,
    rng: np.random.Generator,
    *,
    image_size: tuple[int, int],
    num_digits: int,
    digit_size: tuple[int, int],
    max_angle: float,
    num_clutter: int,
) -> tuple[np.ndarray, list[SceneDigit]]:
    """Draw a scene.

    Args:
        pool: Digits to draw from.
        rng: Source of every choice.
        image_size: Height and width in pixels.
        num_digits: Digits to place; one that finds no room in 30 tries is left out, the first always has room.
        digit_size: Smallest and largest side of a digit in pixels.
        max_angle: Largest rotation either way, in degrees.
        num_clutter: Strokes, boxes and ellipses behind the digits.

    Returns:
        The image, uint8 of shape (H, W, 3), RGB, and its digits.
    """
    canvas = background(image_size, num_clutter, rng)
    digits: list[SceneDigit] = []
    for _ in range(num_digits):
        row = int(rng.integers(len(pool.labels)))
        for _ in range(_MAX_TRIES):
            size, angle = int(rng.integers(digit_size[0], digit_size[1] + 1)), float(rng.uniform(-max_angle, max_angle))
            opacity = _place(render_digit(pool.images[row], size, angle), image_size, rng)
            digit = SceneDigit(int(pool.labels[row]), opacity >= 0.5, int(pool.indices[row]))
            if _has_room(digit, digits):
                canvas = paint(canvas, opacity, rng)
                digits.append(digit)
                break
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8), digits


def semantic_map(digits: Sequence[SceneDigit], image_size: tuple[int, int]) -> np.ndarray:
    """Paint the class of every pixel, uint8 of shape (H, W).

    Example:
        >>> mask = np.array([[True, False]])
        >>> semantic_map([SceneDigit(3, mask, 0)], (1, 2)).tolist()
        [[3, 10]]
    """
    labels = np.full(image_size, BACKGROUND, np.uint8)
    for digit in digits:
        labels[digit.mask] = digit.label
    return labels


def background(image_size: tuple[int, int], num_clutter: int, rng: np.random.Generator) -> np.ndarray:
    """Draw smooth colour clouds, clutter and grain; float32 of shape (H, W, 3), grey levels."""
    height, width = image_size
    # One colour with gentle clouds: full-range clouds would drown the digits.
    clouds = np.clip(rng.integers(16, 112, 3) + rng.normal(0, 30, (4, 4, 3)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(clouds).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(num_clutter):
        _clutter(pen, image_size, rng)
    return np.asarray(picture, np.float32) + rng.normal(0, 6, (height, width, 1)).astype(np.float32)


def paint(canvas: np.ndarray, opacity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint a glyph of the given opacity, (H, W), in one colour that stands out from what it covers; (H, W, 3)."""
    colour = _contrasting_colour(canvas[opacity >= 0.5].mean(0), rng)
    return canvas + opacity[..., None] * (colour - canvas)


def _clutter(pen: ImageDraw.ImageDraw, image_size: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw one shape of the size and stroke width that digits have, so that neither gives a digit away."""
    height, width = image_size
    reach = min(image_size) // 3
    x, y = int(rng.integers(width)), int(rng.integers(height))
    dx, dy = (int(value) for value in rng.integers(4, reach, 2))
    colour, stroke = tuple(int(value) for value in rng.integers(0, 256, 3)), int(rng.integers(2, 6))
    kind = rng.integers(3)
    if kind == 0:
        pen.line((x, y, x + dx, y + dy if rng.random() < 0.5 else y - dy), fill=colour, width=stroke)
    elif kind == 1:
        pen.rectangle((x, y, x + dx, y + dy), outline=colour, width=stroke)
    else:
        pen.arc((x, y, x + dx, y + dy), float(rng.uniform(0, 180)), float(rng.uniform(180, 360)), colour, stroke)


def _place(glyph: np.ndarray, image_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Put the glyph on an empty canvas of shape (H, W), wholly inside."""
    (height, width), (rows, columns) = image_size, glyph.shape
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    opacity = np.zeros(image_size, np.float32)
    opacity[top : top + rows, left : left + columns] = glyph
    return opacity


def _has_room(digit: SceneDigit, others: Sequence[SceneDigit]) -> bool:
    """Tell whether the mask meets no other one and the box overlaps no other one by much."""
    x, y, width, height = digit.box
    for other in others:
        ox, oy, owidth, oheight = other.box
        overlap = max(0, min(x + width, ox + owidth) - max(x, ox)) * max(0, min(y + height, oy + oheight) - max(y, oy))
        if overlap > _MAX_BOX_OVERLAP * min(width * height, owidth * oheight) or (digit.mask & other.mask).any():
            return False
    return True


def _contrasting_colour(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pick a colour clearly brighter than the RGB colour it will lie on: light on dark."""
    for _ in range(_MAX_TRIES):
        colour = rng.integers(0, 256, 3).astype(np.float32)
        if colour.mean() - ground.mean() >= _MIN_CONTRAST:
            return colour
    return np.full(3, 255.0, np.float32)
