"""The figures of the page, as SVG: the curve with what each rule keeps, and what is gained for what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mmsls.pruning_index import PruningIndex
from mmsls.report.rules import Reading
from mmsls.report.score_curve import Paint, plot_curve, ticks
from mmsls.report.svg import BAND, CUT, FAINT, INK, KEPT, SECOND, SETTINGS, inline

WIDE, NARROW = 7.6, 4.1
"""Inches of a figure on a wide page and on a phone."""
DASHES = ('solid', 'dashed', 'dotted', 'dashdot')


@dataclass(frozen=True)
class Point:
    """A model, or a depth.

    Attributes:
        name: What it is called.
        cost: On the horizontal axis.
        value: On the vertical axis, more is better.
        marked: Whether it is what was decided.
    """

    name: str
    cost: float
    value: float
    marked: bool = False


def curve(index: PruningIndex, readings: Sequence[Reading], name: str, width: float = WIDE) -> str:
    """Draw the curve, and below it the blocks that each rule keeps."""
    with matplotlib.rc_context(SETTINGS):
        rows, most = 0.24 * len(readings), 14 if width == WIDE else 8
        figure = Figure(figsize=(width, 2.6 + rows), layout='constrained')
        axes, below = figure.subplots(2, sharex=True, height_ratios=(2.2, rows))
        plot_curve(axes, index, Paint(KEPT, CUT, BAND, INK, INK, FAINT))
        axes.tick_params(labelbottom=False, length=0)
        numbers = {block: number for number, block in enumerate(index.scores, 1)}
        for row, reading in enumerate(readings):
            for kept, colour, mark in ((True, KEPT, 's'), (False, FAINT, '.')):
                of = [number for block, number in numbers.items() if (block in reading.kept_blocks) is kept]
                below.scatter(of, [row] * len(of), color=colour, marker=mark, s=34 if kept else 12, linewidths=0)
        below.set(ylim=(len(readings) - 0.5, -0.5), yticks=range(len(readings)))
        below.set(xlim=(0.4, len(numbers) + 0.6), xticks=ticks(len(numbers), most), xlabel='block, bottom to top')
        below.set_yticklabels([reading.name for reading in readings])
        below.tick_params(length=0)
        below.spines[:].set_visible(False)
        return inline(figure, name, 'the value of every block, and which blocks each rule keeps')


def trade_off(points: Sequence[Point], cost: str, value: str, name: str, width: float = WIDE) -> str:
    """Draw values against costs, what nothing else beats in both joined by a line."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, 3.1), layout='constrained')
        axes = figure.subplots()
        best = frontier(points)
        axes.plot([p.cost for p in best], [p.value for p in best], color=BAND, linewidth=1, alpha=0.6, zorder=1)
        for point in points:
            colour = KEPT if point in best else CUT
            edge = {'edgecolors': INK, 'linewidths': 1.6} if point.marked else {'linewidths': 0}
            axes.scatter(point.cost, point.value, color=colour, s=70 if point.marked else 44, zorder=2, **edge)
        name_points(axes, points)
        axes.margins(0.14)
        axes.grid(linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set(xlabel=cost, ylabel=value)
        return inline(figure, name, f'{value} against {cost}')


def name_points(axes: Any, points: Sequence[Point]) -> None:
    """Write the names beside points, each on the side away from its nearest neighbour."""
    spans = [max(values) - min(values) or 1.0 for values in ([p.cost for p in points], [p.value for p in points])]
    for point in points:
        others = [other for other in points if other is not point]
        near = min(others, key=lambda other: apart(point, other, spans), default=None)
        down = (
            near is not None
            and apart(point, near, spans) < 0.12
            and (near.value, near.name) > (point.value, point.name)
        )
        axes.annotate(
            point.name,
            (point.cost, point.value),
            xytext=(0, -8 if down else 8),
            textcoords='offset points',
            ha='center',
            va='top' if down else 'bottom',
            fontsize=9,
        )


def apart(one: Point, other: Point, spans: Sequence[float]) -> float:
    """Return how far two points lie from each other, as a share of the axes."""
    return abs(one.cost - other.cost) / spans[0] + abs(one.value - other.value) / spans[1]


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in cost and value, cheapest first (Pareto's).

    Example:
        >>> found = frontier([Point('a', 1, 1), Point('b', 2, 3), Point('c', 3, 2)])
        >>> [point.name for point in found]
        ['a', 'b']
    """
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.value)):
        if not found or point.value > found[-1].value:
            found.append(point)
    return found


def overlay(indexes: Sequence[PruningIndex], names: Sequence[str], name: str, width: float = WIDE) -> str:
    """Draw curves of one unit into one figure; where the backbones differ, by the share of the depth."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, 3.1), layout='constrained')
        axes = figure.subplots()
        same = len({index.foundation.depths for index in indexes}) == 1
        for number, (index, label) in enumerate(zip(indexes, names, strict=True)):
            blocks = list(index.scores)
            x = [(at + 1) if same else (at + 1) / len(blocks) for at in range(len(blocks))]
            colour = (KEPT, CUT, SECOND, INK)[number % 4]
            style = DASHES[number // 4 % len(DASHES)]
            axes.plot(x, list(index.scores.values()), color=colour, linestyle=style, linewidth=1.4, label=label)
            for block, at in zip(blocks, x, strict=True):
                kept = block in index.kept_blocks
                axes.scatter(at, index.scores[block], color=colour, marker='o' if kept else 'x', s=26 if kept else 30)
        axes.set(xlabel='block, bottom to top' if same else 'share of the depth', ylabel=indexes[0].curve.unit)
        if same:
            axes.set_xticks(ticks(len(indexes[0].scores), 14 if width == WIDE else 8))
        axes.grid(linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(fontsize=9, ncols=4, loc='lower left', bbox_to_anchor=(0, 1), borderaxespad=0.2, handlelength=1.6)
        return inline(figure, name, 'the curves of several runs')
