"""The page: one HTML file with everything in it, no network, from what a run left in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import mmsls
from mmsls.files.writing import write_text
from mmsls.pruning_index.keeping import beside
from mmsls.report.leaving import PAGE
from mmsls.report.map_view import NAMED
from mmsls.report.palette import MARKS
from mmsls.report.run import Run, read_run
from mmsls.report.score_curve import draw_curves, draw_score_curve, write_curve, write_curves
from mmsls.report.view import marked_up, view

CSV, PICTURES = 'curve.csv', ('score_curve.png', 'score_curve.svg')
"""What a report leaves beside its index, besides the page."""
ALL_CSV, ALL_PICTURES = 'curves.csv', ('curves.png', 'curves.svg')
"""The same of all criteria, where there are others."""


def write_report(index_path: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run, and its curves as CSV, PNG and SVG, beside its index.

    Whatever else lies there is in the page: the maps and class names (`maps.npz`), what every depth costs
    (`depth_costs.json`), the chain's table (`results.json`), and other indexes of the same weights.

    Args:
        index_path: The index file, or the folder that it lies in.
        out: The page; by default `report.html` beside the index.

    Returns:
        Where the page is.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If the index is damaged.
        OSError: If a file cannot be written.
    """
    run = read_run(index_path)
    page = Path(out) if out is not None else beside(run.path, PAGE)
    write_text(render([view(run, 'a')], f'{run.name}: what every block is worth'), page)
    if out is None:
        write_curve(run.index, beside(run.path, CSV))
        for picture in PICTURES:
            draw_score_curve(run.index, beside(run.path, picture))
        leave_curves(run)
    return page


def leave_curves(run: Run) -> None:
    """Write the curves of all criteria beside an index, where there are others, or were before."""
    indexes = [run.index, *(other.index for other in run.others)]
    if run.others or beside(run.path, ALL_CSV).exists():
        write_curves(indexes, beside(run.path, ALL_CSV))
        for picture in ALL_PICTURES:
            draw_curves(indexes, beside(run.path, picture))


def render(runs: Sequence[Mapping[str, Any]], title: str, comparison: Mapping[str, Any] | None = None) -> str:
    """Return the page of one run, or of several with what compares them; whatever comes from data is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters['code'] = marked_up
    template = environment.from_string(files('mmsls.report').joinpath('template.html').read_text(encoding='utf-8'))
    return template.render(
        runs=runs,
        title=title,
        comparison=comparison,
        named=NAMED,
        cross=list(MARKS).index('X'),
        marks=[Markup(mark) for mark in MARKS.values()],
        version=mmsls.__version__,
    )
