"""Labelled training images, batch by batch, for criteria that look at the loss."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmsls.features.provenance import describe_dataset
from mmsls.features.records import same_random_state


class LabelledBatches:
    """A config's training batches with their labels, in a seeded random order, by the training transform.

    Every pass gives the same batches, in every process all of them, and none is read before it is asked for: who takes
    a few bounds what is read.

    Args:
        cfg: The config.
        seed: Of the order, and of what the transform draws inside `seeded`.

    Attributes:
        images: How many images the last pass gave up to now.

    Raises:
        ValueError: If the config has no training images.
    """

    def __init__(self, cfg: Config, seed: int = 0) -> None:
        if cfg.get('train_dataloader') is None:
            raise ValueError(
                'criterion: it looks at the loss on training images, and the config has no train_dataloader'
            )
        self.cfg, self.seed, self.images = cfg, seed, 0
        self.loader: DataLoader | None = None

    def __iter__(self) -> Iterator[Any]:
        """Build the loader, if it is the first pass, and yield its batches."""
        self.loader = self.loader or self._build()
        self.images = 0
        for batch in self.loader:
            self.images += len(batch['inputs'])
            yield batch

    @property
    def dataset(self) -> str:
        """Name of the data set, once a pass has begun."""
        return '' if self.loader is None else describe_dataset(self.loader.dataset)

    def _build(self) -> DataLoader:
        init_default_scope(self.cfg.get('default_scope', 'mmengine'))
        cfg = deepcopy(self.cfg.train_dataloader)
        # No worker reads ahead.
        cfg.num_workers, cfg.persistent_workers = 0, False
        cfg.pop('prefetch_factor', None)
        cfg.sampler = {'type': 'DefaultSampler', 'shuffle': False}
        dataset = Runner.build_dataloader(cfg, seed=self.seed).dataset
        cfg.dataset, cfg.sampler = dataset, whole_sampler(dataset, self.seed)
        return Runner.build_dataloader(cfg, seed=self.seed)


def whole_sampler(dataset: Any, seed: int) -> DefaultSampler:
    """Return a sampler that shuffles a whole data set on every rank alike; MMEngine's own gives each a share."""
    sampler = DefaultSampler(dataset, shuffle=True, seed=seed)
    sampler.rank, sampler.world_size = 0, 1
    sampler.num_samples = sampler.total_size = len(dataset)
    return sampler


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw what is drawn inside the context by a seed, on the CPU, and leave the random states as they were."""
    with same_random_state():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        yield
