"""Several runs side by side in one page: tasks, adapters or settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from mmsls.features.trial import headline
from mmsls.files.writing import write_text
from mmsls.report import figures
from mmsls.report.facts import short
from mmsls.report.page import render
from mmsls.report.run import Run, read_run
from mmsls.report.view import WIDTHS, view
from mmsls.scoring.stability import name_of

HEADER = ('', 'run', 'data set', 'adapter', 'decided by', 'kept', 'of', 'metric', 'tuned', 'last', 'M params', 'time')
MOST = 26
"""Runs of one page: each has a letter."""


def write_comparison(given: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page that has runs side by side.

    Args:
        given: Work directories of scoring runs, or index files, at least 2.
        out: The page.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If a run has no index.
        ValueError: If an index is damaged, or there are fewer than 2 runs or more than 26.
        OSError: If the page cannot be written.
    """
    if not 2 <= len(given) <= MOST:
        raise ValueError(f'{len(given)} runs are given; a page compares 2 to {MOST}')
    runs = [read_run(path) for path in given]
    letters = [chr(ord('A') + number) for number in range(len(runs))]
    views = [
        view(run, letter.lower(), brief=True) | {'letter': letter} for run, letter in zip(runs, letters, strict=True)
    ]
    rows = [line(letter, run) for letter, run in zip(letters, runs, strict=True)]
    used = [number for number, _ in enumerate(HEADER) if number < 2 or any(row[number] != '-' for row in rows)]
    comparison = {
        'header': [HEADER[number] for number in used],
        'rows': [[row[number] for number in used] for row in rows],
        'overlays': overlays(runs, letters),
    }
    write_text(render(views, f'{len(runs)} runs side by side', comparison), out)
    return Path(out)


def line(letter: str, run: Run) -> tuple[str, ...]:
    """Return a run's line of the table; what is not known is a dash."""
    index, tested = run.index, [row for row in run.rows if row.metrics]
    key = next((headline(row.metrics) for row in tested), None)
    values = {row.name: f'{row.metrics[key]:.3f}' for row in tested if key in row.metrics}
    last = tested[-1] if tested else None
    timed = next((row.latency for row in run.rows if row.latency), 0.0)
    return (
        letter,
        run.name,
        short(index.provenance.get('dataset', '-')),
        short((index.foundation.adapter or {}).get('type', '-')),
        f'{short(index.criterion["type"])}, {index.told}',
        name_of(index.kept_depths),
        name_of(index.foundation.depths),
        key or '-',
        values.get('tuned', '-'),
        values.get(last.name, '-') if last else '-',
        f'{last.parameters.total / 1e6:.2f}' if last and last.parameters else '-',
        f'{last.latency / timed:.2f}' if last and last.latency and timed else '-',
    )


def overlays(runs: Sequence[Run], letters: Sequence[str]) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """Return a figure of curves for each unit."""
    found = []
    for number, unit in enumerate(dict.fromkeys(run.index.curve.unit for run in runs)):
        inside = [
            (run.index, letter) for run, letter in zip(runs, letters, strict=True) if run.index.curve.unit == unit
        ]
        indexes, names = [index for index, _ in inside], [letter for _, letter in inside]
        drawn = [(kind, Markup(figures.overlay(indexes, names, f'o{number}{kind}', width))) for kind, width in WIDTHS]
        found.append((unit, drawn))
    return found
