"""Through the wrappers of data sets: what lies inside, and which record of it an item is."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log
from torch.utils.data import ConcatDataset, Subset

LeafKey = tuple[int, ...]
MIXING = {'CopyPaste', 'Mosaic', 'CachedMosaic', 'RandomMosaic', 'MixUp', 'CachedMixUp', 'CutMix'}


@dataclass(frozen=True)
class Leaf:
    """An innermost data set.

    Attributes:
        dataset: The data set itself.
        transforms: What its items go through, its wrappers' transforms included; None where that cannot be seen.
        key: What tells it from other leaves.
    """

    dataset: Any
    transforms: tuple[Any, ...] | None
    key: LeafKey


def class_names(thing: Any) -> set[str]:
    """Return the names of a thing's class and of those that it derives from: hosts are met without importing them."""
    return {one.__name__ for one in type(thing).__mro__}


def find_leaves(dataset: Any) -> list[Leaf]:
    """List the innermost data sets in the order in which the wrappers hold them, each once.

    A wrapper of an unknown kind is a leaf itself: what it does with its records cannot be known.
    """
    leaves: dict[LeafKey, Leaf] = {}
    for inner, outer in _descend(dataset, ()):
        key = (id(inner), *map(id, outer))
        if key not in leaves:
            own = getattr(getattr(inner, 'pipeline', None), 'transforms', None)
            leaves[key] = Leaf(inner, None if own is None else (*own, *outer), key)
            if hasattr(inner, 'dataset') or hasattr(inner, 'datasets'):
                print_log(
                    f'SLS: {type(inner).__name__} is a wrapper of an unknown kind: every item of it counts as an image '
                    'of its own',
                    'current',
                    logging.WARNING,
                )
    return list(leaves.values())


def find_record(dataset: Any, index: int) -> tuple[LeafKey, int]:
    """Follow an item through the wrappers.

    Returns:
        Key of the leaf, and the record's number in it.
    """
    outer: tuple[Any, ...] = ()
    while (step := _step(dataset, index)) is not None:
        outer = (*_own_transforms(dataset), *outer)
        dataset, index = step
    return (id(dataset), *map(id, outer)), int(index)


def check_unmixed(dataset: Any) -> None:
    """Refuse a pipeline that makes one image of several.

    Raises:
        ValueError: Naming the transform.
    """
    for transform in _all_transforms(dataset):
        mixes = hasattr(transform, 'get_indexes') or hasattr(transform, 'get_indices')
        if mixes or class_names(transform) & MIXING:
            raise ValueError(
                f'{type(transform).__name__} in the pipeline that is scored makes one image of several, so its '
                'instances belong to none: take it out (score with the test pipeline)'
            )


def _descend(dataset: Any, outer: tuple[Any, ...]) -> Iterable[tuple[Any, tuple[Any, ...]]]:
    inner = _inner(dataset)
    if inner is None:
        yield dataset, outer
    for part in inner or ():
        yield from _descend(part, (*_own_transforms(dataset), *outer))


def _inner(dataset: Any) -> Sequence[Any] | None:
    """Return what a wrapper of a known kind holds; None for a leaf."""
    if is_slice(dataset):
        return [dataset._dataset]
    if isinstance(dataset, ConcatDataset) or (_maps(dataset) and hasattr(dataset, 'datasets')):
        return list(dataset.datasets)
    if isinstance(dataset, Subset) or _mixes(dataset) or (_maps(dataset) and hasattr(dataset, 'dataset')):
        return [dataset.dataset]
    return None


def _step(dataset: Any, index: int) -> tuple[Any, int] | None:
    """Go one wrapper down; None on a leaf."""
    if _inner(dataset) is None:
        return None
    if is_slice(dataset):
        return dataset._dataset, index
    if _mixes(dataset) or _folds(dataset):
        return dataset.dataset, index
    if isinstance(dataset, Subset):
        return dataset.dataset, int(dataset.indices[index])
    if _maps(dataset):  # MMEngine's wrappers
        found = dataset._get_ori_dataset_idx(index)
        return (dataset.datasets[found[0]], found[1]) if isinstance(found, tuple) else (dataset.dataset, found)
    part = bisect_right(dataset.cumulative_sizes, index)
    return dataset.datasets[part], index - (dataset.cumulative_sizes[part - 1] if part else 0)


def is_slice(dataset: Any) -> bool:
    """Whether it is MMEngine's `_SlicedDataset` (num_batch_per_epoch); its `__getattr__` answers for what it holds."""
    return '_SlicedDataset' in class_names(dataset)


def _mixes(dataset: Any) -> bool:
    return 'MultiImageMixDataset' in class_names(dataset)


def _folds(dataset: Any) -> bool:
    """Whether it is MMPreTrain's KFoldDataset.

    What it holds is cut to the fold already, and its `_get_ori_dataset_idx` tells of what was before.
    """
    return 'KFoldDataset' in class_names(dataset)


def _maps(dataset: Any) -> bool:
    return hasattr(type(dataset), '_get_ori_dataset_idx')


def _own_transforms(dataset: Any) -> tuple[Any, ...]:
    """Return the transforms of MultiImageMixDataset that it does not skip."""
    if not _mixes(dataset):
        return ()
    skipped = dataset._skip_type_keys or ()
    return tuple(one for one, kind in zip(dataset.pipeline, dataset.pipeline_types, strict=True) if kind not in skipped)


def _all_transforms(dataset: Any) -> Iterable[Any]:
    """Every transform anywhere in a data set and its wrappers, of unknown kinds too."""
    if is_slice(dataset):
        dataset = dataset._dataset
    pipeline = getattr(dataset, 'pipeline', None)
    own = _own_transforms(dataset) if _mixes(dataset) else getattr(pipeline, 'transforms', ())
    yield from _nested(own)
    for part in [*(getattr(dataset, 'datasets', None) or ()), getattr(dataset, 'dataset', None)]:
        if part is not None:
            yield from _all_transforms(part)


def _nested(transforms: Any) -> Iterable[Any]:
    for one in transforms if isinstance(transforms, (list, tuple)) else [transforms]:
        if isinstance(one, (list, tuple)):
            yield from _nested(one)
            continue
        yield one
        inner = getattr(one, 'transforms', None)
        if isinstance(inner, (list, tuple)):
            yield from _nested(inner)
