"""What can be known about a data set before hours of training: is there anything in it that scoring will refuse?"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log

from mmsls.features.leaves import is_slice
from mmsls.features.records import same_random_state


def check_class_list(dataset: Any, max_samples: int, one_class: bool = False) -> None:
    """Refuse class names in which nothing can be told apart, or more of them than samples are kept.

    Args:
        dataset: A data set; one without class names passes.
        max_samples: Most samples kept.
        one_class: Whether the sampler finds something to tell apart where there is one class.

    Raises:
        ValueError: If the names are a text, of one class, or too many for `max_samples`.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes is None:
        return
    name = type(dataset).__name__
    if isinstance(classes, str):
        raise ValueError(
            f'metainfo.classes of {name} is the text {classes!r}, each of whose {len(classes)} letters would be a '
            f'class: write classes=({classes!r},), with the comma'
        )
    if len(classes) < 2 and not one_class:
        raise ValueError(
            f'{name} has the one class {tuple(classes)}; a silhouette needs at least 2: score on a data set that tells '
            'several apart (mmsls score), or take SLSHook out and set kept_depths'
        )
    if max_samples < 2 * len(classes):
        raise ValueError(
            f'max_samples={max_samples} leaves fewer than two samples for some of the {len(classes)} classes of '
            f'{name}: raise max_samples to at least {2 * len(classes)}, better ten times that'
        )


def check_first_records(dataset: Any, sampler: Any) -> None:
    """Let a sampler look at the first record of every part as its pipeline gives it: meta information and truth.

    A pipeline that fails is left to the validation, which fails the same way.

    Raises:
        ValueError: If the sampler refuses one.
    """
    check = getattr(sampler, 'check', None)
    if check is None:
        return
    for leaf in unopened_leaves(dataset):
        try:
            with same_random_state():
                item = leaf[0]
        except Exception as error:
            name = type(leaf).__name__
            print_log(f'SLS: the first record of {name} cannot be read: {error!r}', 'current', logging.WARNING)
            continue
        data_sample = item.get('data_samples') if isinstance(item, Mapping) else None
        if hasattr(data_sample, 'metainfo'):  # under test-time augmentation it is a list
            check(data_sample)


def labelled(data_batch: Any) -> list[Any]:
    """Return a batch's data samples; none under test-time augmentation, whose lists of lists samplers refuse later."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    return [sample for sample in samples or () if hasattr(sample, 'metainfo')]


def unopened_leaves(dataset: Any) -> Iterator[Any]:
    """Yield copies of the innermost data sets, in their order; none where there is nothing to look at.

    Copies, since whatever a data set opens on first use (a database) must not be open yet when workers are forked.
    """
    if is_slice(dataset):
        yield from unopened_leaves(dataset._dataset)
        return
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else list(getattr(dataset, 'datasets', None) or ())
    if inner:
        # A wrapper with transforms of its own (MultiImageMixDataset) gives other items than what it holds.
        for part in inner if getattr(dataset, 'pipeline', None) is None else ():
            yield from unopened_leaves(part)
    elif hasattr(dataset, '__getitem__') and hasattr(dataset, '__len__') and len(dataset):
        leaf = copy.copy(dataset)
        if hasattr(leaf, 'pipeline'):
            leaf.pipeline = copy.deepcopy(leaf.pipeline)
        yield leaf
