"""From a validation's passes to an index: what was collected, scored by a criterion and read by the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmsls.criteria import Evidence
from mmsls.criteria.base import Trial
from mmsls.criteria.choosing import check_block_scores, described, needs_of
from mmsls.features.also import OtherCurve, log_times, other_curves
from mmsls.features.block_scores import block_scores
from mmsls.features.collector import FeatureCollector
from mmsls.features.confirming import confirmed
from mmsls.features.counts import gathered_counts
from mmsls.features.keys import order_hash
from mmsls.features.labelled import LabelledBatches
from mmsls.features.maps import Maps, gathered_maps
from mmsls.features.provenance import describe_dataset, versions
from mmsls.features.settings import check_reads, settled_criterion
from mmsls.features.sureness import assured, guessing
from mmsls.parallel.ranks import raise_first
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId, Curve
from mmsls.scoring.embedding import MIN_SAMPLES
from mmsls.scoring.rule import Rule
from mmsls.scoring.silhouette import check_jobs, check_layers

OF_ONE_CRITERION = ('chance', 'commonest', 'perplexity')
"""What an index says of its samples that holds for its own criterion alone."""


class BlockScorer(FeatureCollector):
    """A collector that scores every block by what it collected: call `finish()` in the end.

    Args:
        model: The (unwrapped) model that the loop runs.
        sampler: Name, class or config of a sampler, such as `'InstanceSampler'`.
        rule: How the scores are read.
        criterion: What makes them: name, class or config of a criterion (`mmsls.criteria`).
        max_samples: Most samples kept, shared evenly between classes.
        perplexity: t-SNE's perplexity.
        seed: Seed of the choice of samples and of t-SNE.
        n_jobs: Blocks that SLS scores at a time; None: one per core.
        also: Other criteria that look at the same features: names, classes or configs (see `settled_also`). Their
            curves change nothing of the run's own.

    Raises:
        ValueError: If an argument is out of range, before anything is run.
    """

    others: Sequence[OtherCurve] = ()
    """What the other criteria said last; the same in every process, and empty where no features were."""
    maps: Maps | None = None
    """The samples that were scored last; None in all processes but the main one, and where no features were."""

    def __init__(
        self,
        model: nn.Module,
        sampler: str | type | Mapping[str, Any],
        *,
        rule: Rule,
        criterion: str | type | Mapping[str, Any] = 'sls',
        max_samples: int = 2000,
        perplexity: float = 30.0,
        seed: int = 0,
        n_jobs: int | None = None,
        also: Sequence[str | type | Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(model, sampler, max_samples, seed)
        if max_samples < MIN_SAMPLES:
            raise ValueError(f'max_samples={max_samples} is too few: scoring needs {MIN_SAMPLES} samples or more')
        check_jobs(n_jobs)
        self.criterion = settled_criterion(criterion, perplexity, n_jobs)
        check_reads(rule, self.criterion)
        self.told = described(criterion)
        self.also = [(described(one), settled_criterion(one, perplexity, n_jobs)) for one in also]
        self.rule = rule
        self.needs = needs_of(self.criterion)
        if self.needs == 'trial':
            rule.check_stages(len(self.backbone.depths), self.told['type'])

    @property
    def collects(self) -> bool:
        """Whether the criterion looks at features; another one needs no pass."""
        return self.needs == 'features'

    def check_data(self, dataset: Any) -> None:
        """As `FeatureCollector.check_data`; a criterion that looks at no features needs no labels here."""
        if self.collects:
            super().check_data(dataset)

    def start(self, loader: Any) -> None:
        """Begin a new collection; for a criterion that looks at no features, only note whose images these are."""
        if self.collects:
            super().start(loader)
        self.dataset, self.failure = loader.dataset, None

    def observe(self, batch_idx: int, outputs: Sequence[Any]) -> None:
        """Take the samples of the iteration that has just run, if the criterion looks at any."""
        if self.collects:
            super().observe(batch_idx, outputs)

    def collect(self, loader: Any, on_batch: Callable[[int, int], None] | None = None) -> None:
        """As `FeatureCollector.collect`; a criterion that looks at no features needs no such pass."""
        if self.collects:
            super().collect(loader, on_batch)
        else:
            self.start(loader)

    def finish(
        self,
        split: str,
        warning: str | None = None,
        trial: Trial | None = None,
        batches: LabelledBatches | None = None,
    ) -> tuple[dict[BlockId, float], PruningIndex | None]:
        """Score what was collected, every process its share of the blocks.

        Args:
            split: What to call the data set in the index.
            warning: A remark on the split that the index shall keep.
            trial: What a criterion that needs `'trial'` tries the model on.
            batches: What one that needs `'loss'` looks at.

        Returns:
            The score of every block, and the index; None on a pruned backbone, whose scores decide nothing. The same in
            every process. A criterion that looks at no features has no scores for a pruned backbone.

        Raises:
            Exception: In every process alike: a ValueError if the features cannot be scored, or whatever failed.
        """
        if not self.collects and self.backbone.is_pruned:
            return {}, None
        evidence, about = self._collected() if self.collects else self._supplied(trial, batches)
        start = monotonic()
        scores, resampled = block_scores(self.criterion, evidence)
        took = monotonic() - start
        self.others, self.maps = (), None
        if batches is not None:
            about |= {'dataset': batches.dataset, 'split': 'train', 'images': batches.images}
        check_block_scores(self.told['type'], scores)
        if self.backbone.is_pruned:
            return scores, None
        provenance = {
            'dataset': describe_dataset(self.dataset),
            'split': split,
            'seed': self.seed,
            **about,
            'versions': versions(),
            'warning': warning,
            **({'chance': self.criterion.chance} if hasattr(self.criterion, 'chance') else {}),
        }
        foundation: dict[str, Any] = {
            'backbone': self.backbone.fingerprint(),
            'adapter': self.backbone.adapter_cfg,
            'base_sha256': self.backbone.base_sha256,
        }
        index = PruningIndex.create(
            scores=Curve(scores, self.criterion.unit),
            criterion=self.told,
            provenance=provenance,
            rule=self.rule,
            **foundation,
        )
        if self.collects:
            shared = {name: value for name, value in provenance.items() if name not in OF_ONE_CRITERION}
            self.others = other_curves(self.also, evidence, self.rule, foundation, shared)
            log_times(self.told['type'], took, self.others)
            self.maps = gathered_maps(self._mapping(), evidence.labels, self.dataset)
        index = confirmed(index, self.criterion, evidence) if self.needs == 'trial' else index
        return scores, assured(index, resampled)

    def _collected(self) -> tuple[Evidence, dict[str, Any]]:
        """Return what the pass collected, and what the index says of it."""
        features, labels, keys = self.collected()
        counts = gathered_counts(self.sampler, len(labels))
        classes = len(set(labels.tolist()))
        print_log(f'SLS: scoring {len(features)} blocks on {len(labels)} samples of {classes} classes', 'current')
        if counts is not None:
            print_log(f'SLS: {counts}', 'current')
        check_layers(features, labels)
        about = {
            'sampler': self.sampler.name,
            'samples': len(labels),
            'classes': classes,
            'max_samples': self.max_samples,
            'perplexity': getattr(self.criterion, 'perplexity', None),
            'order_hash': order_hash(keys),
            **guessing(self.criterion, labels),
            **({} if counts is None else {'counts': counts.as_dict()}),
        }
        return Evidence(self.model, self.backbone, (), features, labels, self.seed), about

    def _mapping(self) -> Any:
        """Return the criterion that drew maps of the samples: the run's own, else the first of the others that did."""
        drew = [built for (_, built), other in zip(self.also, self.others, strict=True) if other.index is not None]
        return next((built for built in (self.criterion, *drew) if getattr(built, 'maps', None)), self.criterion)

    def _supplied(self, trial: Trial | None, batches: LabelledBatches | None) -> tuple[Evidence, dict[str, Any]]:
        """Return what a criterion gets in the place of features, and what the index says of it."""
        raise_first(self.failure)
        self.model.eval()
        about = {'images': len(self.dataset)} if self.needs == 'trial' else {}
        return Evidence(self.model, self.backbone, batches or (), {}, np.zeros(0, int), self.seed, trial), about
