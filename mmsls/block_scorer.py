"""From validation passes to an index: collect features while a loop runs, score them when it ends."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch import nn

from mmsls.backbones import PrunedBackbone
from mmsls.features.bank import FeatureBank
from mmsls.features.counts import Counts
from mmsls.features.keys import order_hash
from mmsls.features.recorder import FeatureRecorder
from mmsls.features.records import RecordWalk
from mmsls.features.tasks import build_sampler, sampler_for_scope
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId, layer_scores
from mmsls.scoring.embedding import check_perplexity, check_seed
from mmsls.scoring.rule import check_options
from mmsls.scoring.silhouette import check_jobs


def find_backbone(model: nn.Module) -> PrunedBackbone:
    """Return the one pruned backbone of a model.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = [module for module in model.modules() if isinstance(module, PrunedBackbone)]
    if len(found) != 1:
        raise ValueError(
            f'model: scoring needs exactly one mmsls backbone, found {len(found)} in {type(model).__name__}; '
            "set model.backbone.type='PrunedSwinTransformer' and import mmsls.integrations"
        )
    return found[0]


def scorer_options(
    settings: Mapping[str, Any], default_scope: str | None, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Settle the arguments of `BlockScorer`: what is set nowhere follows the host's task.

    Args:
        settings: Arguments of an `SLSHook`; those of the hook alone are left out.
        default_scope: The host's scope, which names the task.
        overrides: What wins over the settings unless None.
    """
    options = {key: value for key, value in settings.items() if key not in ('interval', 'out_file')}
    options |= {key: value for key, value in (overrides or {}).items() if value is not None}
    options = {key: value for key, value in options.items() if value is not None}
    options.setdefault('sampler', sampler_for_scope(default_scope) if 'sampler' not in options else None)
    options.setdefault('scope', 'model' if 'ImageSampler' in str(options['sampler']) else 'stage')
    options.setdefault('min_depth', 1 if options['scope'] == 'stage' else 0)
    return options


class BlockScorer:
    """Scores every block of a backbone on labelled features of one pass over a data set.

    Call `start()`, then `observe(outputs)` after every iteration, then `finish()`. No forward pass of its own; memory is bounded by
    `max_samples`.

    Args:
        model: The (unwrapped) model that the loop runs.
        sampler: Config or name of a sampler, such as `'InstanceSampler'`.
        alpha: Threshold factor, in (0, 1].
        scope: `'model'` (the paper's walk) or `'stage'`.
        min_depth: Fewest blocks kept in every stage.
        reference: `'top'` (as published) or `'peak'`.
        max_samples: Most samples kept, shared evenly between classes.
        perplexity: t-SNE's perplexity.
        seed: Seed of the choice of samples and of t-SNE.
        n_jobs: Blocks scored at a time; None: one per core.

    Raises:
        ValueError: If an argument is out of range, before anything is run.
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: str | Mapping[str, Any],
        *,
        alpha: float = 0.3,
        scope: str = 'stage',
        min_depth: int = 1,
        reference: str = 'top',
        max_samples: int = 2000,
        perplexity: float = 30.0,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.backbone = find_backbone(model)
        self.sampler = build_sampler(sampler, model)
        self.decision: dict[str, Any] = {'alpha': alpha, 'scope': scope, 'min_depth': min_depth, 'reference': reference}
        check_options(**self.decision)
        check_perplexity(perplexity)
        check_seed(seed)
        check_jobs(n_jobs)
        self.max_samples, self.perplexity, self.seed, self.n_jobs = max_samples, perplexity, seed, n_jobs
        self.recorder = FeatureRecorder(self.backbone, getattr(self.sampler, 'after_merging', False))
        self.bank = FeatureBank(max_samples, seed)

    def start(self, loader: Any) -> None:
        """Begin a new collection of what a loader is about to give."""
        self.bank, self.walk = FeatureBank(self.max_samples, self.seed), RecordWalk(loader)
        self.sampler.prepare(loader.dataset)
        self.recorder.detach()
        self.recorder.attach()

    def observe(self, batch_idx: int, outputs: Sequence[Any]) -> None:
        """Take the samples of the iteration that has just run.

        Args:
            batch_idx: Number of the iteration in this process.
            outputs: The data samples that the model returned, ground truth included.
        """
        self.bank.add(self.sampler(self.recorder.take(), outputs, self.walk.of_batch(batch_idx, len(outputs))))

    def finish(
        self, dataset: Any, split: str, warning: str | None = None
    ) -> tuple[dict[BlockId, float], PruningIndex | None]:
        """Score what was collected, on the main process, and share the result.

        Args:
            dataset: The data set that was walked, for its order and name.
            split: What to call it in the index.
            warning: A remark on the split that the index shall keep.

        Returns:
            The score of every block, and the index; None on a pruned backbone, whose scores decide nothing. The same in every process.

        Raises:
            ValueError: In every process alike, if the features cannot be scored; so does any other failure.
        """
        self.recorder.detach()
        self.bank.gather()
        counts = sum(all_gather_object(self.sampler.counts), Counts(self.sampler.counts.unit)).capped(len(self.bank))
        print_log(f'SLS: {counts}', 'current')
        shared: list[Any] = [None]
        if is_main_process():
            try:
                shared[0] = self._score(dataset, split, warning, counts)
            except Exception as error:  # whatever it is, the other processes wait for word
                shared[0] = error
        broadcast_object_list(shared)
        if isinstance(shared[0], Exception):
            raise shared[0]
        return shared[0]

    def _score(
        self, dataset: Any, split: str, warning: str | None, counts: Counts
    ) -> tuple[dict[BlockId, float], PruningIndex | None]:
        features, labels, keys = self.bank.to_arrays()
        classes = len(set(labels.tolist()))
        print_log(f'SLS: scoring {len(features)} blocks on {len(labels)} samples of {classes} classes', 'current')
        scores = layer_scores(features, labels, perplexity=self.perplexity, seed=self.seed, n_jobs=self.n_jobs)
        if self.backbone.is_pruned:
            return scores, None
        provenance = {
            'sampler': self.sampler.name,
            'dataset': describe_dataset(dataset),
            'split': split,
            'samples': len(labels),
            'classes': classes,
            'counts': counts.as_dict(),
            'max_samples': self.max_samples,
            'seed': self.seed,
            'perplexity': self.perplexity,
            'order_hash': order_hash(keys),
            'versions': versions(),
            'warning': warning,
        }
        index = PruningIndex.create(
            scores=scores,
            backbone=self.backbone.fingerprint(),
            adapter=self.backbone.adapter_cfg,
            base_sha256=self.backbone.base_sha256,
            provenance=provenance,
            **self.decision,
        )
        return scores, index


def log_scores(scores: Mapping[BlockId, float], index: PruningIndex | None) -> None:
    """Log every block's score and, where there is one, the decision; a reason why nothing was pruned is a warning."""
    stages = sorted({stage for stage, _ in scores})
    rows = [
        f'  stage {stage}: ' + ' '.join(f'{score:+.3f}' for (of, _), score in sorted(scores.items()) if of == stage)
        for stage in stages
    ]
    print_log('\n'.join(['SLS: silhouette of every block', *rows]), 'current')
    if index is None:
        return
    depths = tuple(index.backbone['depths'])
    print_log(f'SLS: kept_depths {index.kept_depths} of {depths} (alpha {index.alpha}, scope {index.scope})', 'current')
    if index.borderline:
        print_log(
            f'SLS: borderline, within 0.05 of their threshold: (stage, block) {list(index.borderline)}', 'current'
        )
    if index.note:
        print_log(f'SLS: {index.note}', 'current', logging.WARNING)


def describe_dataset(dataset: Any) -> str:
    """Name a data set by its class and the last part of its annotation file or image folder."""
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    source = getattr(dataset, 'ann_file', '') or next(iter(getattr(dataset, 'data_prefix', {}).values()), '')
    return f'{type(dataset).__name__}({Path(str(source)).name})' if source else type(dataset).__name__


def versions() -> dict[str, str]:
    """Return the versions that may move a score."""
    names = ('scikit-learn', 'numpy', 'scipy')
    return {
        'python': platform.python_version(),
        'torch': torch.__version__,
        **{n: importlib.metadata.version(n) for n in names},
    }
