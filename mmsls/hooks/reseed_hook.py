"""Random numbers that depend on where a training is, not on how it came there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, get_worker_info

from mmsls.registry import HOOKS

EPOCH, STEP, BATCH, VALIDATION = range(4)
"""What a stream of random numbers is for; no two share one."""


def reseed(seed: int, rank: int, stream: int, number: int) -> None:
    """Seed Python's, numpy's and torch's generators (on every device) from a place in a run."""
    state = np.random.SeedSequence((seed % 2**64, rank, stream, number)).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(state[1])
    torch.manual_seed(int(state[2]))


class SeededBatches:
    """What a data loader's processes do before each batch: seed from its number in the run.

    Args:
        seed: Of the run.
        rank: Of the process that trains.
        loader: The data loader; its `worker_init_fn` and `collate_fn` go on doing what they did.
        endless: Whether its sampler never ends.
    """

    def __init__(self, seed: int, rank: int, loader: DataLoader, endless: bool) -> None:
        self.seed, self.rank = seed, rank
        self.init_fn: Callable | None = loader.worker_init_fn
        self.collate_fn: Callable = loader.collate_fn
        # Workers that persist go on counting in the next pass, whose first batch is the first worker's again.
        self.length = len(loader) if loader.persistent_workers and not endless else None
        self.first, self.done = 0, 0

    def install(self, loader: DataLoader) -> None:
        """Have a loader's workers, which start with its next iterator, seed themselves."""
        loader.worker_init_fn, loader.collate_fn = self.start_worker, self.collate

    def start_worker(self, worker: int) -> None:
        """Begin in a worker process."""
        if self.init_fn is not None:
            self.init_fn(worker)
        self.done = 0
        self._reseed()

    def collate(self, samples: Any) -> Any:
        """Make a batch of samples; in a worker process, the next one's random numbers begin here."""
        batch = self.collate_fn(samples)
        self.done += 1
        self._reseed()
        return batch

    def _reseed(self) -> None:
        info = get_worker_info()
        if info is not None:
            reseed(self.seed, self.rank, BATCH, self.first + self.number(info.id, info.num_workers))

    def number(self, worker: int, workers: int) -> int:
        """Return the number of a worker's next batch since the workers started: they take batches in turns."""
        if self.length is None:
            return worker + self.done * workers
        passes, turn = divmod(self.done, max(1, len(range(worker, self.length, workers))))
        return passes * self.length + worker + turn * workers


class SeededIterator:
    """The batches of an iteration-based loop, each loaded from random numbers that its number alone decides.

    Args:
        iterator: MMEngine's own.
        batches: Of the loader.
    """

    def __init__(self, iterator: Any, batches: SeededBatches) -> None:
        self.iterator, self.batches, self.count = iterator, batches, 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._advance(lambda: next(self.iterator))

    def skip_iter(self, count: int) -> None:
        """Pass over batches that were trained on before.

        onedl-mmengine 0.10.12 asks for it, mmengine 0.10.7 takes them one by one.
        """
        if self.iterator._resolve_sampler() is not None and self.iterator._resolve_batch_size():
            self.iterator.skip_iter(count)
            self.count += count
            return
        for _ in range(count):
            self._advance(lambda: self.iterator._next_data(skip_loading=True))

    def _advance(self, load: Callable[[], Any]) -> Any:
        self.batches.first = self.count  # for workers that start now
        reseed(self.batches.seed, self.batches.rank, BATCH, self.count)
        self.count += 1
        return load()


@HOOKS.register_module()
class ReseedHook(Hook):
    """Seed before every epoch, iteration, batch and validation from the run's seed and their number.

    MMEngine stores no state of a random generator, so a training that is resumed draws other numbers than one that was
    never broken off. With this hook the two are the same to the last bit, whatever the number of data-loading workers,
    as long as the config has a seed (`randomness`) and the checkpoint ends an epoch where epochs count.
    `mmsls train` and the chain add it to every training.
    """

    # Before whatever else a hook may draw.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Any) -> None:
        """Take over the data loader's random numbers."""
        self.seed, self.rank = runner.seed, get_rank()
        loop = runner.train_loop
        self.batches = SeededBatches(self.seed, self.rank, loop.dataloader, is_endless(loop))
        self.batches.install(loop.dataloader)
        if isinstance(loop, IterBasedTrainLoop):
            iterator = loop.dataloader_iterator
            if getattr(iterator, '_iterator', None) is not None and loop.dataloader.num_workers:
                # mmengine 0.10.7 starts the workers when it builds the loop, before any hook.
                iterator = type(iterator)(loop.dataloader)
            loop.dataloader_iterator = SeededIterator(iterator, self.batches)

    def before_train_epoch(self, runner: Any) -> None:
        """Seed what happens before the first iteration; data loading without workers begins there."""
        self.batches.first = runner.iter
        reseed(self.seed, self.rank, EPOCH, runner.iter)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed a training step."""
        reseed(self.seed, self.rank, STEP, runner.iter)

    def before_val_epoch(self, runner: Any) -> None:
        """Seed a validation."""
        if hasattr(self, 'batches'):
            reseed(self.seed, self.rank, VALIDATION, runner.iter)


def is_endless(loop: Any) -> bool:
    """Whether a loop's sampler never ends."""
    if isinstance(loop, EpochBasedTrainLoop):
        return False
    loader = loop.dataloader
    return isinstance(getattr(loader.batch_sampler, 'sampler', loader.sampler), InfiniteSampler)
