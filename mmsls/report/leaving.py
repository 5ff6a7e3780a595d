"""The report that ends a scoring run: whatever is wrong with it costs one line, and no run."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.logging import print_log

from mmsls.features.maps import Maps
from mmsls.files.trouble import explain
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import MAPS_FILE, beside
from mmsls.report.advice import advise
from mmsls.report.how_to import closing_lines, how_tos
from mmsls.report.origin import Origin

PAGE = 'report.html'
"""Beside the index."""


def leave_report(index_path: str | Path, maps: Maps | None = None, origin: Origin | None = None) -> Path | None:
    """Write the page of an index that was just written, in the main process.

    Args:
        index_path: The index file.
        maps: Samples and maps that belong to it; None leaves those that are there.
        origin: Where its scores come from; None leaves what is there.

    Returns:
        Where the page is; None where it could not be written, which is said in a line.
    """
    path = Path(index_path)
    try:
        from mmsls.report.page import write_report  # matplotlib is slow to import

        if maps is not None:
            maps.save(beside(path, MAPS_FILE), PruningIndex.load(path))
        if origin is not None:
            origin.save(path, PruningIndex.load(path))
        return write_report(path)
    except Exception as error:  # the scores are what the run is for
        told = (explain(error) if isinstance(error, OSError) else None) or f'{type(error).__name__}: {error}'
        print_log(f'SLS: {path} is whole, but its report is not written: {told}', 'current', logging.WARNING)
        return None


def closing(index: PruningIndex, path: Path, page: Path | None) -> list[str]:
    """Return what a run that scored ends with: its page, what the index says in plain words, and what to do next.

    Args:
        index: The index.
        path: Its file.
        page: Its page; None where there is none.
    """
    try:
        origin = Origin.load(path, index)
    except (OSError, ValueError):  # which the page says
        origin = Origin()
    advice = advise(index)
    lines = closing_lines(advice, how_tos(advice, path, index, origin), page)
    return [*([f'report: {page}'] if page else []), *lines]


def log_closing(index: PruningIndex, path: Path, page: Path | None) -> None:
    """Log what a run that scored ends with."""
    for line in closing(index, path, page):
        print_log(f'SLS: {line}', 'current')
