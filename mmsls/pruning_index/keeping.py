"""What becomes of the index file that is there already when a run ends: kept, replaced, or set aside."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from mmengine.logging import print_log

from mmsls.pruning_index.index import PruningIndex


def write_index(index: PruningIndex, path: Path, split: str | None = None) -> None:
    """Write an index, unless it comes from a test and the file holds one of another split.

    Args:
        index: The index.
        path: The file.
        split: Split of the run that made it; by default the one that was scored.
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
        return
    index.save(path)
    print_log(f'SLS: wrote {path}', 'current')


def set_stale_index_aside(path: Path) -> None:
    """Rename an index of earlier weights, so that none takes it for that of the weights that could not be scored."""
    if path.is_file():
        aside = path.with_name(f'{path.stem}.earlier{path.suffix}')
        path.replace(aside)
        print_log(
            f'SLS: {path} holds scores of earlier weights and is now called {aside.name}', 'current', logging.WARNING
        )
