"""The score curve: what the rule saw, and where it cut."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
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
    """Draw every block's score, the thresholds, and which blocks stay, to a PNG file.

    Args:
        index: What to draw.
        path: Where the figure goes.
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
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150)


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


def write_curve(index: PruningIndex, path: Path) -> None:
    """Write a curve as CSV, one block a line."""
    file, errors, kept = io.StringIO(), errors_of(index), set(index.kept_blocks)
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(('number', 'stage', 'block', 'value', 'unit', 'standard_error', 'threshold', 'kept'))
    for number, ((stage, block), value) in enumerate(index.scores.items(), 1):
        threshold = threshold_of(index, stage)
        told = '' if threshold is None else f'{threshold:.6g}'
        error = errors.get((stage, block), '')
        writer.writerow((number, stage, block, repr(value), index.curve.unit, error, told, int((stage, block) in kept)))
    write_text(file.getvalue(), path)
