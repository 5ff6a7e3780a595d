"""What becomes of the index file that is there already when a run ends: kept, replaced, or set aside."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from mmengine.logging import print_log

from mmsls.files.writing import whole_file
from mmsls.pruning_index.index import PruningIndex

INDEX_FILE = 'pruning_index.json'
"""The usual name of an index file."""
MAPS_FILE = 'maps.npz'
"""Beside it, the samples and where every block's map has them (`mmsls.features.maps`)."""


def beside(path: Path, name: str) -> Path:
    """Return a file that belongs to an index: under its own name in the index's folder, if that has the usual name.

    Example:
        >>> beside(Path('x/pruning_index.json'), 'report.html').name, beside(Path('train.json'), 'report.html').name
        ('report.html', 'train.report.html')
    """
    return path.with_name(name if path.name == INDEX_FILE else f'{path.stem}.{name}')


def write_index(index: PruningIndex, path: Path, split: str | None = None) -> bool:
    """Write an index, unless it comes from a test and the file holds one of another split.

    Args:
        index: The index.
        path: The file.
        split: Split of the run that made it; by default the one that was scored.

    Returns:
        Whether it was written.
    """
    ours, stored = split or index.provenance.get('split'), None
    if ours == 'test' and path.exists():
        with suppress(ValueError):  # what cannot be read is not worth keeping, and no reason to lose the test
            stored = PruningIndex.load(path).provenance.get('split')
    if stored not in (None, ours):
        print_log(
            f'SLS: {path} holds scores of the split {stored!r} and is kept; to have those of {ours!r} there, remove it '
            'or set SLSHook.out_file',
            'current',
            logging.WARNING,
        )
        return False
    index.save(path)
    print_log(f'SLS: wrote {path}', 'current')
    return True


def copy_index(source: Path, target: Path) -> None:
    """Copy an index, and the maps that belong to it where there are any."""
    index, maps = PruningIndex.load(source), beside(source, MAPS_FILE)
    if maps.exists():
        with whole_file(beside(target, MAPS_FILE)) as partial:
            shutil.copyfile(maps, partial)
    index.save(target)


def set_stale_index_aside(path: Path) -> None:
    """Rename an index of earlier weights, so that none takes it for that of the weights that could not be scored."""
    if path.is_file():
        aside = path.with_name(f'{path.stem}.earlier{path.suffix}')
        path.replace(aside)
        print_log(
            f'SLS: {path} holds scores of earlier weights and is now called {aside.name}', 'current', logging.WARNING
        )
