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
ORIGIN_FILE = 'origin.json'
"""Beside it, where the scores come from (`mmsls.report.origin`)."""
ALSO = 'also_'
"""Beside it, how the indexes of other criteria on the same samples begin."""
ALSO_OF = 'also_of'
"""What their provenance says of the curve beside which they were made."""


def beside(path: Path, name: str) -> Path:
    """Return a file that belongs to an index: under its own name in the index's folder, if that has the usual name.

    Example:
        >>> beside(Path('x/pruning_index.json'), 'report.html').name, beside(Path('train.json'), 'report.html').name
        ('report.html', 'train.report.html')
    """
    return path.with_name(name if path.name == INDEX_FILE else f'{path.stem}.{name}')


def also_path(path: Path, criterion: str) -> Path:
    """Return the file of another criterion's index beside an index.

    Example:
        >>> also_path(Path('x/pruning_index.json'), 'NCM').name, also_path(Path('train.json'), 'NCM').name
        ('also_ncm.json', 'train.also_ncm.json')
    """
    return beside(path, f'{ALSO}{criterion.lower()}.json')


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
    """Copy an index, and what belongs to it where there is any: maps, origin, the indexes of other criteria."""
    index = PruningIndex.load(source)
    others = source.parent.glob(beside(source, f'{ALSO}*.json').name)
    for file in (beside(source, MAPS_FILE), beside(source, ORIGIN_FILE), *sorted(others)):
        if file.is_file():
            name = file.name if source.name == INDEX_FILE else file.name.removeprefix(f'{source.stem}.')
            with whole_file(beside(target, name)) as partial:
                shutil.copyfile(file, partial)
    index.save(target)


def set_stale_index_aside(path: Path) -> None:
    """Rename an index of earlier weights, so that none takes it for that of the weights that could not be scored."""
    if path.is_file():
        aside = path.with_name(f'{path.stem}.earlier{path.suffix}')
        path.replace(aside)
        print_log(
            f'SLS: {path} holds scores of earlier weights and is now called {aside.name}', 'current', logging.WARNING
        )
