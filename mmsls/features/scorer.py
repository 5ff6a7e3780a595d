"""From validation passes to an index: collect features while a loop runs, score them when it ends."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from torch import nn

from mmsls.backbones import PrunedBackbone
from mmsls.criteria import SLS, AccuracyCriterion, Evidence, build_criterion
from mmsls.criteria.base import check_block_scores, described, points_of
from mmsls.features.bank import FeatureBank
from mmsls.features.data_checks import check_class_list, check_first_records
from mmsls.features.keys import Key, order_hash
from mmsls.features.recorder import FeatureRecorder
from mmsls.features.records import RecordWalk
from mmsls.features.tasks import build_sampler, sampler_class, sampler_for_scope
from mmsls.parallel.ranks import jobs_here, raise_first, shared_out
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId, Curve
from mmsls.scoring.embedding import MIN_SAMPLES, check_perplexity, check_seed
from mmsls.scoring.rule import Rule, overridden
from mmsls.scoring.silhouette import check_jobs, check_layers
from mmsls.scoring.stability import bootstrap, stability_line


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

    Raises:
        ValueError: If an option of the rule is out of its range, or does not fit the criterion.
    """
    options = {key: value for key, value in settings.items() if key not in ('interval', 'out_file')}
    options = overridden(options, overrides or {})
    sampler = options.get('sampler') or sampler_for_scope(default_scope)
    rule = Rule.of(options, scope=getattr(sampler_class(sampler), 'default_scope', 'stage'))
    rest = {key: value for key, value in options.items() if value is not None and key not in Rule.options()}
    if rule.max_drop is not None:
        rule.check_unit(build_criterion(rest.get('criterion', 'sls')).unit)
    return {**rest, 'sampler': sampler, 'rule': rule}


def settled_criterion(criterion: str | type | Mapping[str, Any], perplexity: float, n_jobs: int | None) -> Any:
    """Build a criterion that a depth follows from; SLS takes the settings of t-SNE where its own config names none.

    Raises:
        ValueError: If there is none of that name, it says which single blocks matter, or a setting is out of range.
    """
    check_perplexity(perplexity)
    built = build_criterion(criterion)
    if built.kind != 'depth':
        raise ValueError(
            f'criterion: {type(built).__name__} says which single blocks matter, and an index holds depths; take one that rates depths, '
            "such as 'sls' or 'LinearProbe', or compare it by tools/run_vtab.py"
        )
    if isinstance(built, SLS):
        named = criterion if isinstance(criterion, Mapping) else {}
        built.perplexity = named.get('perplexity', perplexity)
        built.n_jobs = jobs_here(named.get('n_jobs', n_jobs))
        check_perplexity(built.perplexity)
    return built


class BlockScorer:
    """Scores every block of a backbone on labelled features of one pass over a data set.

    Call `start(loader)`, then `observe(batch_idx, outputs)` after every iteration, then `finish()`. No forward pass of
    its own; memory is bounded by `max_samples`.

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
        self.backbone = find_backbone(model)
        self.sampler: Any = build_sampler(sampler, model)
        self.model, self.rule = model, rule
        check_seed(seed)
        check_jobs(n_jobs)
        self.criterion = settled_criterion(criterion, perplexity, n_jobs)
        rule.check_unit(self.criterion.unit)
        self.told = described(criterion)
        self.bank = FeatureBank(max_samples, seed)
        if max_samples < MIN_SAMPLES:
            raise ValueError(f'max_samples={max_samples} is too few: scoring needs {MIN_SAMPLES} samples or more')
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
            loader: The data loader that is about to be walked.
        """
        self.recorder.detach()
        self.bank, self.failure = FeatureBank(self.max_samples, self.seed), None
        # All processes compare their records here, so nothing that may fail in one alone comes before it.
        self.dataset, self.walk, self.batches = loader.dataset, RecordWalk(loader), set[int]()
        self._prepare_sampler(loader.dataset)
        self.recorder.attach()

    def observe(self, batch_idx: int, outputs: Sequence[Any]) -> None:
        """Take the samples of the iteration that has just run.

        Args:
            batch_idx: Its number in the walk.
            outputs: The data samples that the model returned, ground truth included.
        """
        passes = self.recorder.take()
        # mmpretrain 1.2's EMAHook may walk the data a second time with the original weights, inside the same
        # validation.
        if batch_idx not in self.batches:
            self.batches.add(batch_idx)
            self.bank.add(self.sampler(passes, outputs, self.walk.of_batch(batch_idx, len(outputs))))

    def give_up(self, failure: Exception) -> None:
        """Stop collecting; `finish` raises the failure, in every process."""
        self.failure = self.failure or failure
        self.recorder.detach()

    def collected(self) -> tuple[dict[BlockId, np.ndarray], np.ndarray, list[Key]]:
        """End the collection and return what all processes collected: features by block, labels and keys, in data-set order.

        Raises:
            Exception: In every process alike, if one gave up or there is nothing to score.
        """
        self.recorder.detach()
        raise_first(self.failure)
        self.bank.gather()
        return self.bank.to_arrays()

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
        check_layers(features, labels)
        scores, hits = self._scored(features, labels)
        check_block_scores(self.told['type'], scores)
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
            **({'stability': bootstrap(hits, self.rule, seed=self.seed).as_dict()} if hits else {}),
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

    def _scored(
        self, features: Mapping[BlockId, np.ndarray], labels: np.ndarray
    ) -> tuple[dict[BlockId, float], dict[BlockId, np.ndarray]]:
        """Return the score of every block, and which samples it gets right, if the criterion judges them."""
        criterion, blocks = self.criterion, list(features)
        if isinstance(criterion, AccuracyCriterion):
            hits = shared_out(
                lambda part: {block: criterion.hits(features[block], labels, self.seed) for block in part}, blocks
            )
            return {block: points_of(found) for block, found in hits.items()}, hits
        evidence = Evidence(self.model, self.backbone, (), features, labels, self.seed)
        return shared_out(
            lambda part: criterion(replace(evidence, features={block: features[block] for block in part})), blocks
        ), {}

    def _prepare_sampler(self, dataset: Any) -> None:
        prepare = getattr(self.sampler, 'prepare', None)
        if prepare is not None:
            prepare(dataset)


@torch.no_grad()
def walk(
    model: Any,
    loader: Any,
    scorer: BlockScorer,
    on_batch: Callable[[int, int], None] | None = None,
) -> None:
    """Run the model over a data set once, in eval mode, while the scorer collects."""
    model.eval()
    scorer.start(loader)
    for batch_idx, batch in enumerate(loader):
        scorer.observe(batch_idx, model.test_step(batch))
        if on_batch:
            on_batch(batch_idx + 1, len(loader))


def gathered_counts(sampler: Any, kept: int) -> Any:
    """Return what a sampler counted, summed over all processes, after a bank that keeps `kept` in all; None where it counts nothing."""
    counts = [part for part in all_gather_object(getattr(sampler, 'counts', None)) if part is not None]
    return reduce(add, counts).capped(kept) if counts else None


def log_scores(scores: Mapping[BlockId, float], index: PruningIndex | None, unit: str = 'silhouette') -> None:
    """Log every block's score and, where there is one, the decision; a reason why nothing was pruned is a warning."""
    stages = sorted({stage for stage, _ in scores})
    rows = [
        f'  stage {stage}: ' + ' '.join(f'{score:+.3f}' for (of, _), score in sorted(scores.items()) if of == stage)
        for stage in stages
    ]
    print_log('\n'.join([f'SLS: {unit} of every block', *rows]), 'current')
    if index is None:
        return
    depths = tuple(index.backbone['depths'])
    print_log(f'SLS: kept_depths {index.kept_depths} of {depths} ({index.rule.told}, scope {index.scope})', 'current')
    if index.borderline:
        print_log(
            f'SLS: borderline, within {index.rule.margin:g} of their threshold: '
            f'(stage, block) {list(index.borderline)}',
            'current',
        )
    if line := stability_line(index.provenance.get('stability')):
        print_log(f'SLS: {line}', 'current')
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
