"""Draw the pictures of the concept pages and of README.md: `python docs/pictures.py` writes docs/images/*.svg.

Each stands on a light card of its own, so that it can be read on light and dark pages alike. Text stays text, so that
it can be searched and is drawn in the reader's own font. The curves are those of docs/results/rule.md and depth.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use('svg')
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

Point = tuple[float, float]
FOLDER = Path(__file__).resolve().parent / 'images'
CARD, INK, FAINT = '#fbfaf7', '#2b2f36', '#8a9099'
FROZEN, TRAINED, GONE, MAP = '#c9d3de', '#b65d14', '#eeeeec', '#1f776d'
KEPT, CUT = '#1b6ca8', '#c8553d'
STYLE: dict[str, Any] = {'svg.fonttype': 'none', 'svg.hashsalt': 'mmsls', 'font.family': 'sans-serif', 'font.size': 10}
CURVES: dict[str, Sequence[float]] = {
    'cells': (-0.16, -0.16, -0.15, 0.39, 0.35, 0.38, 0.35, 0.36, 0.33, 0.31, 0.33, 0.34),
    'digits': (-0.12, -0.03, 0.23, 0.35, 0.45, 0.46, 0.54, 0.61, 0.65, 0.75, 0.79, 0.80),
    'roads': (0.64, 0.68, 0.71, 0.72, 0.73, 0.74, 0.76, 0.75, 0.74, 0.73, 0.70, 0.70),
    'roads, bridged': (30.7, 37.8, 44.1, 45.8, 48.5, 52.7, 57.2, 59.0, 58.9, 58.9, 58.9, 58.9),
}
"""Tuned models: silhouettes (docs/results/rule.md), and the last one in points (docs/results/depth.md)."""


def card(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with axes in tenths of an inch, on a light card."""
    figure = Figure(figsize=(width / 10, height / 10))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis('off')
    axes.add_patch(rounded(0.6, 0.6, width - 1.2, height - 1.2, CARD, edge='#dddad2'))
    return figure, axes


def rounded(x: float, y: float, width: float, height: float, colour: str, edge: str = 'none') -> FancyBboxPatch:
    """Return a box with round corners."""
    style = 'round,pad=0,rounding_size=0.5'
    return FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor=edge, linewidth=1)


def write(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Write a text, centred unless told otherwise."""
    axes.text(x, y, text, **{'ha': 'center', 'va': 'center', 'color': INK, **options})


def box(
    axes: Axes, x: float, y: float, width: float, height: float, colour: str, text: str = '', **options: Any
) -> None:
    """Draw a box with a text in it."""
    edge = options.pop('edge', 'none')
    axes.add_patch(rounded(x, y, width, height, colour, edge))
    write(axes, x + width / 2, y + height / 2, text, **options)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, bend: float = 0.0
) -> None:
    """Draw an arrow."""
    shape = f'arc3,rad={bend}'
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle='-|>', mutation_scale=11, color=colour, connectionstyle=shape)
    )


def tower(axes: Axes, x: float, kept: int, adapters: bool, bridge: bool = False) -> None:
    """Draw twelve blocks, from the bottom: kept ones with their adapters, and what became of the others."""
    for block in range(12):
        y = 7 + 1.9 * block
        stays = block < kept
        box(axes, x, y, 8, 1.5, FROZEN if stays else GONE)
        if stays and adapters:
            box(axes, x + 6.4, y + 0.2, 1.3, 1.1, TRAINED)
    if bridge:
        box(axes, x + 2.6, 7 + 1.9 * kept, 2.8, 1.9 * (12 - kept) - 0.4, MAP, 'map', color='white', rotation=90)
    box(axes, x, 30.5, 8, 2.4, TRAINED, 'head', color='white')


def overview(name: str) -> None:
    """Draw what the chain does to one model, with the figures of the road scenes."""
    figure, axes = card(88, 42)
    states = (
        ('tune', 12, False, 'the base is frozen,\nadapters and head learn', '51.2 mIoU'),
        ('score and cut', 8, False, 'blocks above the cut\nadd little', '43.3 mIoU'),
        ('bridge', 8, True, 'an affine map for what\nwent, no training', '50.9 mIoU'),
        ('retrain', 8, True, 'only if you like', '53.0 mIoU, 0.75 of the time'),
    )
    for number, (title, kept, bridge, text, metric) in enumerate(states):
        x = 7 + 21 * number
        write(axes, x + 4, 37.5, title, weight='bold', size=12)
        tower(axes, x, kept, adapters=True, bridge=bridge)
        write(axes, x + 4, 34.7, metric, size=9, color=KEPT)
        write(axes, x + 4, 4.2, text, size=9, color=INK)
        if number:
            arrow(axes, (x - 11.2, 19), (x - 2, 19), FAINT)
    save(figure, name)


def frozen(name: str) -> None:
    """Draw one block: what is frozen and what is trained, and what a checkpoint of a task holds."""
    figure, axes = card(78, 30)
    write(axes, 28, 26, 'one block of the backbone', weight='bold')
    for x, names in ((5, ('norm', 'attention')), (30, ('norm', 'FFN'))):
        for step, text in enumerate(names):
            box(axes, x + 9.5 * step, 15, 7.6, 5, FROZEN, text)
        arrow(axes, (x - 2.6, 17.5), (x, 17.5))
        arrow(axes, (x + 7.6, 17.5), (x + 9.5, 17.5))
        box(axes, x + 8.3, 6.5, 10, 4.4, TRAINED, 'adapter', color='white')
        arrow(axes, (x + 8.6, 17.2), (x + 10.4, 11), TRAINED)
        arrow(axes, (x + 17.6, 11), (x + 20.2, 16.4), TRAINED)
        arrow(axes, (x + 17.1, 17.5), (x + 20, 17.5))
        write(axes, x + 20.9, 17.5, '+', size=14)
    arrow(axes, (52.2, 17.5), (56, 17.5))
    box(axes, 56, 15, 8, 5, TRAINED, 'neck', color='white')
    arrow(axes, (64, 17.5), (66.5, 17.5))
    box(axes, 66.5, 15, 8, 5, TRAINED, 'head', color='white')
    box(axes, 54, 7.6, 3, 2, FROZEN)
    write(axes, 58, 8.6, 'frozen: one base for all tasks', ha='left', size=9)
    box(axes, 54, 4.2, 3, 2, TRAINED)
    write(axes, 58, 5.2, "trained: the task's checkpoint", ha='left', size=9)
    save(figure, name)


def index(name: str) -> None:
    """Draw how an index comes about, and who reads it."""
    figure, axes = card(84, 30)
    steps = (
        (3, 'validation images\nwith labels'),
        (20.5, 'criterion:\na number\nfor every block'),
        (38, 'rule: which\nblocks stay'),
        (55.5, 'pruning_index.json\na few kilobytes'),
    )
    for x, text in steps:
        last = x == steps[-1][0]
        box(axes, x, 12, 14, 9, KEPT if last else FROZEN, text, color='white' if last else INK, size=9)
        if x > 3:
            arrow(axes, (x - 3.5, 16.5), (x, 16.5))
    write(axes, 45, 25.2, 'another rule: no new scoring', size=9, color=CUT)
    arrow(axes, (60, 21.4), (46, 21.4), CUT, bend=0.3)
    for y, text in ((20, 'cut model'), (14.5, 'report.html'), (9, 'task folder')):
        arrow(axes, (69.6, 16.5), (72, y + 1.6), FAINT)
        write(axes, 72.4, y + 1.6, text, ha='left', size=9)
    write(
        axes,
        42,
        5.5,
        'holds the curve, the rule, what is kept, how the images were drawn, and which base it belongs to',
        size=9,
    )
    save(figure, name)


def bridge(name: str) -> None:
    """Draw the removed blocks, and the map in their place."""
    figure, axes = card(84, 32)
    for block in range(12):
        gone = block >= 8
        colour = GONE if gone else FROZEN
        edge = FAINT if gone else 'none'
        box(axes, 3 + 5.2 * block, 18.5, 4.2, 6, colour, str(block + 1), edge=edge, color=FAINT if gone else INK)
    box(axes, 71, 18.5, 9, 6, TRAINED, 'head', color='white')
    arrow(axes, (65.6, 21.5), (71, 21.5), FAINT)
    write(axes, 54.5, 27.6, 'removed: blocks 9 to 12', size=9, color=FAINT)
    write(axes, 23.5, 27.6, 'kept, with their adapters', size=9)
    box(axes, 46, 7, 18, 5, MAP, 'y = W x + b', color='white')
    arrow(axes, (41.5, 18.5), (46, 10.5), MAP, bend=0.2)
    arrow(axes, (64, 9.5), (75.5, 18.5), MAP, bend=0.25)
    write(axes, 3, 10.2, 'fitted by least squares on training images, labels unused:', ha='left', size=9)
    write(axes, 3, 7.6, 'W, b bring the tokens of block 8 to those of block 12', ha='left', size=9)
    save(figure, name)


def scores(name: str) -> None:
    """Draw four curves and how each is read."""
    figure, axes = card(92, 52)
    panels = (
        ('cells', 'a step: alpha finds it', 0.3 * 0.34, 4, 'silhouette'),
        ('digits', 'a slope: alpha alone decides', 0.3 * 0.80, 4, 'silhouette'),
        ('roads', 'flat and high: alpha says nothing', 0.3 * 0.70, 1, 'silhouette'),
        ('roads, bridged', 'in points: at most one below the best', 58.0, 8, 'mIoU, bridged'),
    )
    for number, (curve, title, threshold, kept, unit) in enumerate(panels):
        row, column = divmod(number, 2)
        plot = figure.add_axes((0.085 + 0.48 * column, 0.60 - 0.47 * row, 0.40, 0.30))
        draw_curve(plot, CURVES[curve], threshold, kept)
        plot.set_title(title, size=10, color=INK)
        plot.set_ylabel(unit, size=9, color=INK)
    write(axes, 46, 2.6, 'block, bottom to top; blue: kept, red: removed; dashed: the threshold', size=9)
    save(figure, name)


def draw_curve(plot: Axes, values: Sequence[float], threshold: float, kept: int) -> None:
    """Draw one curve, its threshold, and what is kept."""
    blocks = range(1, len(values) + 1)
    plot.set_facecolor(CARD)
    plot.plot(blocks, values, color=FAINT, linewidth=1, zorder=1)
    plot.scatter(blocks[:kept], values[:kept], color=KEPT, zorder=2, s=28)
    plot.scatter(blocks[kept:], values[kept:], color=CUT, marker='X', zorder=2, s=30)
    plot.axhline(threshold, color=INK, linestyle='dashed', linewidth=0.8)
    plot.set_xticks([1, 4, 8, 12])
    plot.tick_params(colors=INK, labelsize=8)
    plot.spines[['top', 'right']].set_visible(False)
    plot.margins(y=0.15)


def save(figure: Figure, name: str) -> None:
    """Write a figure, the same bytes every time."""
    figure.savefig(SETTINGS.out / f'{name}.svg', metadata={'Date': None, 'Creator': None})


PICTURES: dict[str, Callable[[str], None]] = {
    'overview': overview,
    'frozen': frozen,
    'index': index,
    'bridge': bridge,
    'scores': scores,
}
SETTINGS = argparse.Namespace(out=FOLDER)


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=FOLDER, help='folder to write to (default: docs/images)')
    parser.parse_args(namespace=SETTINGS)
    SETTINGS.out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in PICTURES.items():
            draw(name)


if __name__ == '__main__':
    main()
