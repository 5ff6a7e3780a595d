"""The samples that were scored and where every block's map has them: for people who look, not for the decision."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, is_main_process
from numpy.typing import NDArray

from mmsls.files.writing import whole_file
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId

LARGEST = 64 << 20
"""Bytes that the arrays of a file may have, unpacked; those of 24 blocks and 2000 samples have 0.2 MB."""
LONGEST = 200
"""Characters of a class name."""
BACKGROUND = 'background'


@dataclass(frozen=True)
class Maps:
    """Labelled samples, and their place in the plane of every block.

    Attributes:
        planes: Of every `(stage, block)`, (n, 2), float16 in [0, 1]; empty where the criterion draws no maps.
        labels: (n,), class numbers.
        names: Name of every class number that occurs.
    """

    planes: Mapping[BlockId, NDArray[np.float16]]
    labels: NDArray[np.int64]
    names: Mapping[int, str]

    def save(self, path: Path, index: PruningIndex) -> None:
        """Write the maps that belong to an index, whole or not at all.

        Raises:
            OSError: If the file cannot be written.
        """
        arrays: dict[str, Any] = {f'{stage}_{block}': plane for (stage, block), plane in self.planes.items()}
        arrays |= {
            'labels': self.labels,
            'classes': np.array(sorted(self.names), dtype=np.int64),
            'names': np.array([self.names[number][:LONGEST] for number in sorted(self.names)], dtype=np.str_),
            'curve': np.array(curve_hash(index)),
        }
        with whole_file(path) as partial:
            np.savez_compressed(partial, **arrays)

    @classmethod
    def load(cls, path: Path, index: PruningIndex) -> Maps:
        """Read the maps that belong to an index.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or of another curve than the index has.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > LARGEST:
                    raise ValueError(f'its arrays have more than {LARGEST} bytes')
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if str(arrays.pop('curve')) != curve_hash(index):
                raise ValueError('its samples are not those of this curve')
            return cls._of(arrays, index)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged zip raises whatever it likes
            raise ValueError(f'{path.name} is left out: {error}; score the model anew for maps') from error

    @classmethod
    def _of(cls, arrays: dict[str, NDArray[Any]], index: PruningIndex) -> Maps:
        labels, classes, names = (arrays.pop(name) for name in ('labels', 'classes', 'names'))
        planes = {(int(stage), int(block)): plane for key, plane in arrays.items() for stage, block in [key.split('_')]}
        right = (
            labels.ndim == 1
            and labels.dtype.kind == classes.dtype.kind == 'i'
            and names.dtype.kind == 'U'
            and classes.shape == names.shape
            and set(labels.tolist()) <= set(classes.tolist())
            and set(planes) <= set(index.scores)
            and all(plane.shape == (len(labels), 2) and plane.dtype == np.float16 for plane in planes.values())
            and all(np.isfinite(plane).all() for plane in planes.values())
        )
        if not right:
            raise ValueError('its arrays do not fit together')
        return cls(dict(sorted(planes.items())), labels, dict(zip(classes.tolist(), names.tolist(), strict=True)))


def gathered_maps(criterion: Any, labels: NDArray[np.int64], dataset: Any) -> Maps | None:
    """Return what a criterion's processes drew together. Call it on every rank; only the main process keeps it.

    Args:
        criterion: May have `maps` (see `mmsls.criteria.SLS`).
        labels: (n,), class numbers of the samples.
        dataset: Where they come from; its meta information has the names of the classes.
    """
    parts = all_gather_object(getattr(criterion, 'maps', {}))
    if not is_main_process():
        return None
    planes = {block: plane for part in parts for block, plane in part.items()}
    return Maps(dict(sorted(planes.items())), labels, class_names(dataset, labels))


def class_names(dataset: Any, labels: NDArray[np.int64]) -> dict[int, str]:
    """Return the name of every class that occurs; background, drawn for data sets of one class, comes behind them."""
    while not hasattr(dataset, 'metainfo') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    given = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    names = [given] if isinstance(given, str) else [str(name) for name in given]
    last = {len(names): BACKGROUND} if names else {}
    return {number: (dict(enumerate(names)) | last).get(number, f'class {number}') for number in set(labels.tolist())}


def curve_hash(index: PruningIndex) -> str:
    """Return what tells the samples and scores of an index from others; another rule for them changes nothing."""
    about = [index.curve.to_lists(), index.curve.unit, index.provenance.get('order_hash')]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
