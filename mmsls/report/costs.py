"""What depths and models cost, and what they give for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from mmsls.cost.measuring import Row
from mmsls.features.trial import headline
from mmsls.report import figures
from mmsls.report.figures import Point
from mmsls.report.run import Run
from mmsls.report.score_curve import unit_of
from mmsls.scoring.curve import POINTS
from mmsls.scoring.stability import name_of

LEAST = 2
"""Points that make a figure."""


def costs_view(run: Run) -> dict[str, Any] | None:
    """Return the table of what every depth costs; None where that was not measured."""
    if run.costs is None or not run.costs.rows:
        return None
    rows = sorted(run.costs.rows, key=lambda row: (sum(row.kept_depths), row.kept_depths))
    most = {name: max(getattr(row, name) for row in rows) or 1 for name in ('parameters', 'macs', 'seconds')}
    return {
        'told': run.costs.told,
        'rows': [
            {
                'kept': name_of(row.kept_depths),
                'blocks': sum(row.kept_depths),
                'decided': row.kept_depths == run.index.kept_depths and not run.index.subset,
                'cells': [
                    (f'{value:.{digits}f}' if value else '-', round(100 * share / most[name]))
                    for name, value, share, digits in (
                        ('parameters', row.parameters / 1e6, row.parameters, 2),
                        ('macs', row.macs / 1e9, row.macs, 3),
                        ('seconds', row.seconds * 1e3, row.seconds, 1),
                    )
                ],
            }
            for row in rows
        ],
    }


def trade_offs(run: Run, prefix: str, widths: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    """Return the figures of what is given for what it costs, as far as both are known."""
    found = []
    for number, (title, points, cost, value) in enumerate((of_chain(run), of_depths(run))):
        if len(points) >= LEAST:
            names = [(kind, f'{prefix}t{number}{kind}', width) for kind, width in widths]
            drawn = [(kind, Markup(figures.trade_off(points, cost, value, name, width))) for kind, name, width in names]
            found.append({'title': title, 'figures': drawn})
    return found


Figure = tuple[str, list[Point], str, str]


def of_chain(run: Run) -> Figure:
    """Return the models of the chain: their metric on the test images against time, or MACs where none was measured."""
    rows = [row for row in run.rows if row.metrics]
    key = next((headline(row.metrics) for row in rows), None)
    rows = [row for row in rows if key in row.metrics]
    cost, unit = cost_of(rows)
    last = rows[-1] if rows else None
    points = [Point(row.name, cost(row), row.metrics[str(key)], row is last) for row in rows if cost(row)]
    return 'The models of this run, tested', points, unit, str(key)


def cost_of(rows: Sequence[Row]) -> tuple[Callable[[Row], float], str]:
    """Return what rows are compared by."""
    if all(row.latency for row in rows):
        return lambda row: row.latency * 1e3, 'ms an image'
    return lambda row: row.macs / 1e9, 'GMACs an image'


def of_depths(run: Run) -> Figure:
    """Return every depth of a backbone of one stage whose curve is the model's metric: that against time."""
    title, index = 'Every depth, by the curve', run.index
    if run.costs is None or index.curve.unit != POINTS or len(index.foundation.depths) != 1:
        return title, [], '', ''
    timed = all(row.seconds for row in run.costs.rows)
    points = [
        Point(
            name_of(row.kept_depths),
            row.seconds * 1e3 if timed else row.macs / 1e9,
            index.scores[0, row.kept_depths[0] - 1],
            row.kept_depths == index.kept_depths,
        )
        for row in run.costs.rows
        if len(row.kept_depths) == 1 and 1 <= row.kept_depths[0] <= len(index.scores)
    ]
    return title, points, 'ms an image' if timed else 'GMACs an image', unit_of(index)
