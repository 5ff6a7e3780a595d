"""The maps of the blocks as small pictures: rasterised, since thousands of points as SVG would make a page slow."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsls.report.palette import Style

TILE, LARGE = 320, 880
"""Pixels of a map's side: two for each of the page's."""
COLOURS = 96
"""Colours of a picture's palette, its shades of transparency included."""
PAD = 0.035
"""Margin of a map, as a share of its side."""


@dataclass(frozen=True)
class Spot:
    """A name's place in a map.

    Attributes:
        label: The class.
        left: Percent from the left.
        top: Percent from the top.
    """

    label: int
    left: float
    top: float


def picture(plane: NDArray[np.float16], labels: NDArray[np.int64], styles: Mapping[int, Style], side: int) -> str:
    """Draw a block's map, transparent where there is no point.

    Args:
        plane: (n, 2), in [0, 1].
        labels: (n,).
        styles: Of every label.
        side: Pixels.

    Returns:
        A PNG as a data URI.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(side / 100, side / 100), dpi=100)
    figure.patch.set_alpha(0)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-PAD, 1 + PAD), ylim=(-PAD, 1 + PAD))
    axes.axis('off')
    points = plane.astype(np.float64)
    colours = np.array([styles[label].colour for label in labels.tolist()])
    marks = np.array([styles[label].mark for label in labels.tolist()])
    area = (side / TILE) ** 1.3 * float(np.clip(6000 / max(len(points), 1), 5, 40))
    for mark in dict.fromkeys(style.mark for style in reversed(list(styles.values()))):
        of = marks == mark
        # Each point over the last: by samples, not by classes, so that none lies on top everywhere.
        axes.scatter(points[of, 0], points[of, 1], s=area, c=colours[of], marker=mark, linewidths=0, alpha=0.8)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    file = io.BytesIO()
    image.quantize(COLOURS, Image.Quantize.FASTOCTREE).save(file, 'PNG', optimize=True)
    return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()


def spots(plane: NDArray[np.float16], labels: NDArray[np.int64], order: Mapping[int, object]) -> list[Spot]:
    """Place the names of the classes on their samples in a large map, the first ones first, none on another.

    Args:
        plane: (n, 2), in [0, 1].
        labels: (n,).
        order: The classes, those that must have a name first.
    """
    found: list[Spot] = []
    for label in order:
        points = plane[labels == label].astype(np.float64)
        middle = points[np.abs(points - np.median(points, axis=0)).sum(axis=1).argmin()]  # a sample's own place
        left, top = (100 * (value + PAD) / (1 + 2 * PAD) for value in (middle[0], 1 - middle[1]))
        if all(abs(left - other.left) > 6 or abs(top - other.top) > 4 for other in found):
            found.append(Spot(label, round(left, 1), round(top, 1)))
    return found


def coordinates(planes: Mapping[tuple[int, int], NDArray[np.float16]]) -> str:
    """Return the places of all samples in all maps as the page's script reads them: two bytes a point, in Base64."""
    stacked = np.stack([plane.astype(np.float64) for plane in planes.values()])
    return base64.b64encode(np.rint(255 * np.clip(stacked, 0, 1)).astype(np.uint8).tobytes()).decode()
