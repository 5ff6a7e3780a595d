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

PAGE = 'report.html'
"""Beside the index."""


def leave_report(index_path: str | Path, maps: Maps | None = None) -> Path | None:
    """Write the page of an index that was just written, in the main process.

    Args:
        index_path: The index file.
        maps: Samples and maps that belong to it; None leaves those that are there.

    Returns:
        Where the page is; None where it could not be written, which is said in a line.
    """
    path = Path(index_path)
    try:
        from mmsls.report.page import write_report  # matplotlib is slow to import

        if maps is not None:
            maps.save(beside(path, MAPS_FILE), PruningIndex.load(path))
        return write_report(path)
    except Exception as error:  # the scores are what the run is for
        told = (explain(error) if isinstance(error, OSError) else None) or f'{type(error).__name__}: {error}'
        print_log(f'SLS: {path} is whole, but its report is not written: {told}', 'current', logging.WARNING)
        return None


def closing(index: PruningIndex, page: Path | None) -> list[str]:
    """Return what a run that scored ends with: where its page is, and what the index says in plain words."""
    return [*([f'report: {page}'] if page else []), *(line for advice in advise(index) for line in advice.lines())]


def log_closing(index: PruningIndex, page: Path | None) -> None:
    """Log what a run that scored ends with."""
    for line in closing(index, page):
        print_log(f'SLS: {line}', 'current')
