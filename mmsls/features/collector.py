"""From the passes of a model to labelled features: recorder -> sampler -> bank, while a loop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mmsls.backbones.lookup import find_backbone
from mmsls.features.bank import FeatureBank
from mmsls.features.data_checks import check_class_list, check_first_records
from mmsls.features.keys import Key
from mmsls.features.recorder import FeatureRecorder
from mmsls.features.records import PassRecords
from mmsls.features.tasks import build_sampler
from mmsls.parallel.ranks import raise_first
from mmsls.scoring import BlockId
from mmsls.scoring.embedding import check_seed


class FeatureCollector:
    """Collects labelled features of every block of a backbone in one pass over a data set.

    Call `start(loader)`, then `observe(batch_idx, outputs)` after every iteration, then `collected()`: no forward pass
    of its own. Where no loop runs, `collect(loader)` does one. Memory is bounded by `max_samples`.

    Args:
        model: The (unwrapped) model that the loop runs.
        sampler: Name, class or config of a sampler, such as `'InstanceSampler'`.
        max_samples: Most samples kept, shared evenly between classes.
        seed: Seed of the choice of samples.

    Raises:
        ValueError: If an argument is out of range, before anything is run.
    """

    def __init__(
        self, model: nn.Module, sampler: str | type | Mapping[str, Any], max_samples: int = 2000, seed: int = 0
    ) -> None:
        self.backbone = find_backbone(model)
        self.sampler: Any = build_sampler(sampler, model)
        self.model = model
        check_seed(seed)
        self.bank = FeatureBank(max_samples, seed)
        self.max_samples, self.seed = max_samples, seed
        self.recorder = FeatureRecorder(self.backbone, getattr(self.sampler, 'after_merging', False))
        self.failure: Exception | None = None

    def check_data(self, dataset: Any) -> None:
        """Refuse what cannot be scored, as far as it can be known before anything is run.

        Raises:
            ValueError: In every process alike, if the data set, its class names or a part's first record don't allow
                it.
        """
        failure = None
        try:
            check_class_list(dataset, self.max_samples, getattr(self.sampler, 'scores_one_class', False))
            self._prepare_sampler(dataset)
            check_first_records(dataset, self.sampler)
        except Exception as error:  # a process alone in this would leave the others waiting
            failure = error
        raise_first(failure)

    def start(self, loader: Any) -> None:
        """Begin a new collection.

        Args:
            loader: The data loader of the pass that is about to begin.
        """
        self.recorder.detach()
        self.bank, self.failure = FeatureBank(self.max_samples, self.seed), None
        # All processes compare their records here, so nothing that may fail in one alone comes before it.
        self.dataset, self.records, self.batches = loader.dataset, PassRecords(loader), set[int]()
        self._prepare_sampler(loader.dataset)
        self.recorder.attach()

    def observe(self, batch_idx: int, outputs: Sequence[Any]) -> None:
        """Take the samples of the iteration that has just run.

        Args:
            batch_idx: Its number in the pass.
            outputs: The data samples that the model returned, ground truth included.
        """
        passes = self.recorder.take()
        # mmpretrain 1.2's EMAHook may go through the data a second time with the original weights, inside the same
        # validation.
        if batch_idx not in self.batches:
            self.batches.add(batch_idx)
            self.bank.add(self.sampler(passes, outputs, self.records.of_batch(batch_idx, len(outputs))))

    @torch.no_grad()
    def collect(self, loader: Any, on_batch: Callable[[int, int], None] | None = None) -> None:
        """Run the model over a data set once, in eval mode, and take the samples of every batch.

        Args:
            loader: Its data loader.
            on_batch: Called with (batches done, batches in all).
        """
        model: Any = self.model
        model.eval()
        self.start(loader)
        for batch_idx, batch in enumerate(loader):
            self.observe(batch_idx, model.test_step(batch))
            if on_batch:
                on_batch(batch_idx + 1, len(loader))

    def give_up(self, failure: Exception) -> None:
        """Stop collecting; `collected` raises the failure, in every process."""
        self.failure = self.failure or failure
        self.recorder.detach()

    def collected(self) -> tuple[dict[BlockId, np.ndarray], np.ndarray, list[Key]]:
        """End the collection and return what all processes collected.

        Returns:
            The features (n, d) by block, the labels (n,) and the keys, in data-set order.

        Raises:
            Exception: In every process alike, if one gave up or there is nothing to score.
        """
        self.recorder.detach()
        raise_first(self.failure)
        self.bank.gather()
        return self.bank.to_arrays()

    def _prepare_sampler(self, dataset: Any) -> None:
        prepare = getattr(self.sampler, 'prepare', None)
        if prepare is not None:
            prepare(dataset)
