"""The score curve: what the rule saw, and where it cut."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsls.files.writing import whole_file, write_text
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId
from mmsls.scoring.curve import is_real


@dataclass(frozen=True)
class Paint:
    """Colours of a curve."""

    kept: str = '#1b6ca8'
    cut: str = '#c8553d'
    band: str = '#1b6ca8'
    line: str = '0.7'
    ink: str = '0.3'
    faint: str = '0.9'


def draw_score_curve(index: PruningIndex, path: str | Path) -> None:
    """Draw every block's score, the thresholds, and which blocks stay, to a file.

    Args:
        index: What to draw.
        path: Where the figure goes, `.png` or `.svg`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout='constrained')
    axes = figure.subplots()
    paint = Paint()
    plot_curve(axes, index, paint)
    for colour, mark, label in ((paint.kept, 'o', 'kept'), (paint.cut, 'X', 'pruned')):
        axes.scatter([], [], color=colour, marker=mark, label=label)
    axes.plot([], [], color=paint.ink, linestyle='dashed', linewidth=1, label='threshold')
    if errors_of(index):
        axes.fill_between([], [], [], color=paint.band, alpha=0.2, linewidth=0, label='standard error')
    axes.legend(fontsize=8)
    axes.set_xlabel('block, bottom to top')
    axes.set_title(
        f'{tuple(index.kept_depths)} of {tuple(index.foundation.depths)} blocks kept, {index.told}',
        fontsize=10,
    )
    save(figure, path)


def draw_curves(indexes: Sequence[PruningIndex], path: str | Path) -> None:
    """Draw the curves of several criteria one below the other to a file.

    Args:
        indexes: What to draw, of one backbone.
        path: Where the figure goes, `.png` or `.svg`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.4 + 2.2 * len(indexes)), layout='constrained')
    every = figure.subplots(len(indexes), squeeze=False)[:, 0]
    for axes, index in zip(every, indexes, strict=True):
        plot_curve(axes, index, Paint())
        name, kept = str(index.criterion['type'])[:60], tuple(index.kept_depths)
        axes.set_title(f'{name}: {kept} of {tuple(index.foundation.depths)} kept, {index.told}', fontsize=10)
    every[-1].set_xlabel('block, bottom to top')
    save(figure, path)


def save(figure: Any, path: str | Path) -> None:
    """Write a figure, whole or not at all; the same figure gives the same file."""
    import matplotlib

    about = {'metadata': {'Date': None}} if Path(path).suffix == '.svg' else {}
    with matplotlib.rc_context({'svg.hashsalt': 'mmsls', 'text.parse_math': False}), whole_file(path) as partial:
        figure.savefig(partial, dpi=150, **about)


def plot_curve(axes: Any, index: PruningIndex, paint: Paint) -> None:
    """Draw a curve into axes: the blocks numbered from 1, a line per stage."""
    errors, kept, first = errors_of(index), set(index.kept_blocks), 0
    for stage, depth in enumerate(index.foundation.depths):
        x = range(first + 1, first + depth + 1)
        y = [index.scores[stage, block] for block in range(depth)]
        if errors:
            wide = [errors.get((stage, block), 0.0) for block in range(depth)]
            ends = [[value + sign * error for value, error in zip(y, wide, strict=True)] for sign in (-1, 1)]
            axes.fill_between(x, *ends, color=paint.band, alpha=0.2, linewidth=0, zorder=0)
        axes.plot(x, y, color=paint.line, zorder=1)
        for stays, colour, mark in ((True, paint.kept, 'o'), (False, paint.cut, 'X')):
            of = [block for block in range(depth) if ((stage, block) in kept) is stays]
            axes.scatter([x[block] for block in of], [y[block] for block in of], color=colour, marker=mark, zorder=2)
        threshold = threshold_of(index, stage)
        if threshold is not None and depth:
            axes.hlines(threshold, first + 0.6, first + depth + 0.4, color=paint.ink, linestyles='dashed', linewidth=1)
        if stage:
            axes.axvline(first + 0.5, color=paint.faint, linewidth=1, zorder=0)
        first += depth
    axes.set(ylabel=unit_of(index), xticks=ticks(first))


def threshold_of(index: PruningIndex, stage: int) -> float | None:
    """Return the threshold that holds in a stage; what was chosen by hand has none."""
    found = index.thresholds[stage:] if index.scope == 'stage' else index.thresholds
    return found[0] if found else None


def ticks(blocks: int, most: int = 14) -> Sequence[int]:
    """Return the block numbers that an axis names: each, or at most so many where there are more.

    Example:
        >>> list(ticks(24))
        [1, 4, 8, 12, 16, 20, 24]
    """
    step = next(step for step in (1, 4, 10, 50, 100, blocks) if blocks / step <= most)
    return range(1, blocks + 1) if step == 1 else [1, *range(step, blocks + 1, step)]


def unit_of(index: PruningIndex) -> str:
    """Return what a curve counts, in words."""
    metric = index.provenance.get('metric')
    return f'{index.curve.unit} of {metric}, bridged' if metric else index.curve.unit


def errors_of(index: PruningIndex) -> dict[BlockId, float]:
    """Return the standard error of what every block loses against the best one, where the index has them."""
    stages = index.provenance.get('drop_errors')
    if not isinstance(stages, list) or [len(s) for s in stages if isinstance(s, list)] != [*index.foundation.depths]:
        return {}
    return {
        (stage, block): float(error)
        for stage, errors in enumerate(stages)
        for block, error in enumerate(errors)
        if is_real(error) and error >= 0
    }


HEADER = ('number', 'stage', 'block', 'value', 'unit', 'standard_error', 'threshold', 'kept')


def write_curve(index: PruningIndex, path: Path) -> None:
    """Write a curve as CSV, one block a line."""
    write_lines([HEADER, *lines_of(index)], path)


def write_curves(indexes: Sequence[PruningIndex], path: Path) -> None:
    """Write the curves of several criteria as CSV, one block a line, with the criterion in front."""
    lines = [(index.criterion['type'], *line) for index in indexes for line in lines_of(index)]
    write_lines([('criterion', *HEADER), *lines], path)


def write_lines(lines: Sequence[Sequence[Any]], path: Path) -> None:
    """Write lines as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows(lines)
    write_text(file.getvalue(), path)


def lines_of(index: PruningIndex) -> Iterator[tuple[Any, ...]]:
    """Yield the lines of a curve."""
    errors, kept = errors_of(index), set(index.kept_blocks)
    for number, ((stage, block), value) in enumerate(index.scores.items(), 1):
        threshold = threshold_of(index, stage)
        told = '' if threshold is None else f'{threshold:.6g}'
        error = errors.get((stage, block), '')
        yield number, stage, block, repr(value), index.curve.unit, error, told, int((stage, block) in kept)
