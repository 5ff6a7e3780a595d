"""From a validation's passes to an index: what was collected, scored by a criterion and read by the rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmsls.criteria import Evidence
from mmsls.criteria.base import check_block_scores, described
from mmsls.features.collector import FeatureCollector
from mmsls.features.counts import gathered_counts
from mmsls.features.keys import order_hash
from mmsls.features.provenance import describe_dataset, versions
from mmsls.features.settings import settled_criterion
from mmsls.parallel.ranks import shared_out
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId, Curve
from mmsls.scoring.embedding import MIN_SAMPLES
from mmsls.scoring.rule import Rule
from mmsls.scoring.silhouette import check_jobs, check_layers


class BlockScorer(FeatureCollector):
    """A collector that scores every block by what it collected: call `finish()` in the end.

    Args:
        model: The (unwrapped) model that the loop runs.
        sampler: Name, class or config of a sampler, such as `'InstanceSampler'`.
        rule: How the scores are read.
        criterion: What makes them: name, class or config of a criterion that rates depths (`mmsls.criteria`).
        max_samples: Most samples kept, shared evenly between classes.
        perplexity: t-SNE's perplexity.
        seed: Seed of the choice of samples and of t-SNE.
        n_jobs: Blocks that SLS scores at a time; None: one per core.

    Raises:
        ValueError: If an argument is out of range, before anything is run.
    """

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
    ) -> None:
        super().__init__(model, sampler, max_samples, seed)
        if max_samples < MIN_SAMPLES:
            raise ValueError(f'max_samples={max_samples} is too few: scoring needs {MIN_SAMPLES} samples or more')
        check_jobs(n_jobs)
        self.criterion = settled_criterion(criterion, perplexity, n_jobs)
        rule.check_unit(self.criterion.unit)
        self.told = described(criterion)
        self.rule = rule

    def finish(self, split: str, warning: str | None = None) -> tuple[dict[BlockId, float], PruningIndex | None]:
        """Score what was collected, every process its share of the blocks.

        Args:
            split: What to call the data set in the index.
            warning: A remark on the split that the index shall keep.

        Returns:
            The score of every block, and the index; None on a pruned backbone, whose scores decide nothing. The same in
            every process.

        Raises:
            Exception: In every process alike: a ValueError if the features cannot be scored, or whatever failed.
        """
        features, labels, keys = self.collected()
        counts = gathered_counts(self.sampler, len(labels))
        classes = len(set(labels.tolist()))
        print_log(f'SLS: scoring {len(features)} blocks on {len(labels)} samples of {classes} classes', 'current')
        if counts is not None:
            print_log(f'SLS: {counts}', 'current')
        scores = self._scores(features, labels)
        if self.backbone.is_pruned:
            return scores, None
        provenance = {
            'sampler': self.sampler.name,
            'dataset': describe_dataset(self.dataset),
            'split': split,
            'samples': len(labels),
            'classes': classes,
            'max_samples': self.max_samples,
            'seed': self.seed,
            'perplexity': getattr(self.criterion, 'perplexity', None),
            'order_hash': order_hash(keys),
            'versions': versions(),
            'warning': warning,
            **({} if counts is None else {'counts': counts.as_dict()}),
        }
        index = PruningIndex.create(
            scores=Curve(scores, self.criterion.unit),
            criterion=self.told,
            backbone=self.backbone.fingerprint(),
            adapter=self.backbone.adapter_cfg,
            base_sha256=self.backbone.base_sha256,
            provenance=provenance,
            rule=self.rule,
        )
        return scores, index

    def _scores(self, features: Mapping[BlockId, np.ndarray], labels: np.ndarray) -> dict[BlockId, float]:
        """Return the criterion's number for every block; every process does its share."""
        check_layers(features, labels)
        evidence = Evidence(self.model, self.backbone, (), features, labels, self.seed)
        scores = shared_out(
            lambda blocks: self.criterion(replace(evidence, features={block: features[block] for block in blocks})),
            list(features),
        )
        check_block_scores(self.told['type'], scores)
        return scores
