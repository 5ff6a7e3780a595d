"""Other curves of the same weights: the indexes of other criteria that lie in a run's folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log

from mmsls.features.also import OtherCurve
from mmsls.features.maps import curve_hash
from mmsls.files.trouble import explain
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.file import FORMAT
from mmsls.pruning_index.index import LARGEST
from mmsls.pruning_index.keeping import ALSO_OF, also_path

MOST = 8
"""Other curves of a page."""
LOOKED_AT = 200
"""Files of a folder that are looked into."""
STANDS_ON = ('type', 'embed_dims', 'depths', 'adapter', 'base_sha256')
"""What two indexes of the same weights agree in."""


@dataclass(frozen=True)
class Other:
    """Another curve of the same weights.

    Attributes:
        path: Its index file.
        index: What that says.
    """

    path: Path
    index: PruningIndex


def leave_others(path: Path, index: PruningIndex, others: Sequence[OtherCurve]) -> None:
    """Write the indexes of other criteria beside that of a run; one that cannot be written costs a line, and no run."""
    shared = {name: index.provenance[name] for name in ('checkpoint',) if name in index.provenance}
    for other in others:
        if other.index is None:
            continue
        target = also_path(path, other.name)
        try:
            other.index.knowing(**shared, **{ALSO_OF: curve_hash(index)}).save(target)
        except OSError as error:
            told = explain(error) or error
            print_log(f'SLS: the curve of {other.name} is not written: {told}', 'current', logging.WARNING)


def others_of(path: Path, index: PruningIndex, remarks: list[str]) -> list[Other]:
    """Return the other curves of an index's weights that lie in its folder, those of the same samples first.

    Args:
        path: The index file.
        index: What it says.
        remarks: Takes what is left out and why, in words.
    """
    own, found = curve_hash(index), []
    ours = {own, index.provenance.get(ALSO_OF)}
    for file in candidates(path):
        try:
            other = PruningIndex.load(file)
        except (OSError, ValueError) as error:
            remarks.append(f'{file.name} is left out: {error}')
            continue
        beside = other.provenance.get(ALSO_OF)
        if curve_hash(other) == own or not is_alike(index, other):
            continue  # the same curve, decided otherwise; or of another model
        if beside is not None and beside not in ours:
            remarks.append(f'{file.name} is of an earlier scoring, and left out')
            continue
        found.append(Other(file, other))
    found.sort(key=lambda other: (ALSO_OF not in other.index.provenance, other.path.name))
    if len(found) > MOST:
        remarks.append(
            f'{len(found) - MOST} more indexes of these weights lie here; mmsls report puts indexes side by side'
        )
    return found[:MOST]


def candidates(path: Path) -> Iterator[Path]:
    """Yield the files in an index's folder that say they are indexes, but for itself and those that were set aside."""
    looked_at = 0
    for file in sorted(path.resolve().parent.glob('*.json')):
        if file.name == path.name or file.stem.endswith('.earlier') or looked_at == LOOKED_AT:
            continue
        looked_at += 1
        try:
            if file.is_file() and file.stat().st_size <= LARGEST:
                with file.open('rb') as opened:
                    if FORMAT.encode() in opened.read(400):
                        yield file
        except OSError:  # whose file it is cannot be known
            continue


def is_alike(one: PruningIndex, other: PruningIndex) -> bool:
    """Whether two indexes are of the same weights, as far as they say."""
    weights = [index.provenance.get('checkpoint') for index in (one, other)]
    same = weights[0] == weights[1] or None in weights
    return same and one.foundation.as_dict(STANDS_ON) == other.foundation.as_dict(STANDS_ON)
