"""Which record of which data set every item of a loader is: the identity of an image, whatever its file is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from random import getstate, setstate
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from torch.utils.data import IterableDataset

from mmsls.features.leaves import find_leaves, find_record


class Record(NamedTuple):
    """One record of one data set.

    Attributes:
        leaf: Number of the innermost data set, counted through the wrappers (see `find_leaves`).
        number: Number of the record in it.
    """

    leaf: int
    number: int


class RepeatedRecord(Record):
    """A record that an earlier batch, or a process of lower rank, brings too: it counts once."""

    __slots__ = ()


class PaddedRecord(RepeatedRecord):
    """One that the data set yields once: a distributed sampler takes it twice, so that every process has as many."""

    __slots__ = ()


class PassRecords:
    """The records of one pass through a loader: which one every item of its batches is.

    The loader's own batch sampler says which items come in which batch; it must be a function of seed and epoch, as
    MMEngine's and torch's sequential samplers are. Wrappers that repeat or choose records (`RepeatDataset`,
    `ClassBalancedDataset`, `Subset`, ...) are looked through, and the records of all processes are compared, so that
    what comes again, in the padding of a distributed sampler too, is marked.

    Build it on every rank, just before the pass begins.

    Args:
        dataloader: A torch `DataLoader`, as MMEngine's runner builds it.

    Raises:
        ValueError: On every rank alike, if the order cannot be known: no batch sampler, an `IterableDataset`, a sampler
            that draws anew each time.
    """

    def __init__(self, dataloader: Any) -> None:
        try:
            mine: Any = batches_of(dataloader)
        except ValueError as error:  # the other ranks wait for word
            mine = error
        everyone = all_gather_object(mine)
        for share in everyone:
            if isinstance(share, ValueError):
                raise share
        self._batches: list[np.ndarray] = everyone[get_rank()]
        dataset = dataloader.dataset
        taken = np.concatenate([*chain(*everyone), np.zeros(0, np.int64)])
        indices, first_taken, inverse = np.unique(taken, return_index=True, return_inverse=True)
        leaves = {leaf.key: number for number, leaf in enumerate(find_leaves(dataset))}
        found = (find_record(dataset, int(index)) for index in indices)
        records = np.array([(leaves[key], number) for key, number in found], dtype=np.int64).reshape(-1, 2)[inverse]
        _, first = np.unique(records, axis=0, return_index=True)
        new = np.zeros(len(records), dtype=bool)
        new[first] = True
        before = sum(len(batch) for share in everyone[: get_rank()] for batch in share)
        self._starts = before + np.cumsum([0, *(len(batch) for batch in self._batches)])
        self._records, self._new = records, new
        self._padded = np.ones(len(taken), dtype=bool)
        self._padded[first_taken] = False

    def of_batch(self, batch_idx: int, count: int) -> list[Record]:
        """Return a batch's records, `RepeatedRecord` where one came before, `PaddedRecord` where it is the same item.

        Args:
            batch_idx: Number of the batch in this process, from 0.
            count: Number of images that the model returned for it.

        Raises:
            ValueError: If the sampler has no such batch, or one of another size.
        """
        expected = len(self._batches[batch_idx]) if 0 <= batch_idx < len(self._batches) else None
        if count != expected:
            raise ValueError(
                f'the model returned {count} data samples for batch {batch_idx}, the batch sampler of the loader has '
                f'{"no such batch" if expected is None else f"{expected} in it"}: a collate function or a model that '
                'drops or adds images leaves no way to say which image is which'
            )
        rows = range(self._starts[batch_idx], self._starts[batch_idx] + count)
        return [self._kind(row)(*self._records[row].tolist()) for row in rows]

    def _kind(self, row: int) -> type[Record]:
        if self._new[row]:
            return Record
        return PaddedRecord if self._padded[row] else RepeatedRecord


def batches_of(dataloader: Any) -> list[np.ndarray]:
    """Return the indices of every batch of this process.

    Raises:
        ValueError: If the order cannot be known.
    """
    dataset = getattr(dataloader, 'dataset', None)
    sampler = getattr(dataloader, 'batch_sampler', None)
    if isinstance(dataset, IterableDataset):
        raise ValueError(
            f'{type(dataset).__name__} is an IterableDataset: its items have no numbers, so samples cannot be told '
            'apart or counted once; score a data set with __getitem__ and __len__'
        )
    if dataset is None or sampler is None:
        raise ValueError(
            f'{type(dataloader).__name__} has no batch_sampler, so the order of its images is unknown: score a torch '
            'DataLoader with a batch size'
        )
    name = type(getattr(sampler, 'sampler', sampler)).__name__
    try:
        with same_random_state():
            once, again = ([list(batch) for batch in islice(sampler, len(sampler))] for _ in range(2))
        batches = [np.array([_whole(index) for index in batch], dtype=np.int64) for batch in once]
    except TypeError as error:
        raise ValueError(
            f'{name} gives no batches of whole numbers ({error}), so the order of the images is unknown: score with '
            "sampler=dict(type='DefaultSampler', shuffle=False)"
        ) from error
    if once != again:
        raise ValueError(
            f'{name} draws another order each time, so it cannot be known which image is which: score with '
            "sampler=dict(type='DefaultSampler', shuffle=False)"
        )
    return batches


def _whole(index: Any) -> int:
    if isinstance(index, bool) or not hasattr(index, '__index__'):
        raise TypeError(f'an index is {index!r}')
    return index.__index__()


@contextmanager
def same_random_state() -> Iterator[None]:
    """Leave the random states of Python, numpy and torch (CPU) as they were."""
    states = getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
