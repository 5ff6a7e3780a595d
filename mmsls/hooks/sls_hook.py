"""Score the blocks during a validation or test that runs anyway."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop, IterBasedTrainLoop

from mmsls.backbones.outputs import check_readers
from mmsls.block_scorer import BlockScorer, log_scores, scorer_options
from mmsls.features.splits import reported_split_warning
from mmsls.hooks.slim_checkpoint_hook import unwrapped
from mmsls.hooks.tuning_hook import join_tuning
from mmsls.pruning_index import PruningIndex
from mmsls.registry import HOOKS


def labelled(data_batch: Any) -> list[Any]:
    """Return a batch's data samples; nothing under test-time augmentation, whose lists of lists the samplers refuse later."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    return [sample for sample in samples or () if hasattr(sample, 'metainfo')]


def check_has_classes(dataset: Any) -> None:
    """Refuse a data set of one class, in which nothing can be told apart.

    Raises:
        ValueError: If its meta information names one class.
    """
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if classes is not None and len(classes) == 1:
        raise ValueError(
            f'{type(dataset).__name__} has the one class {tuple(classes)}; a silhouette needs at least 2: score on a data set that tells '
            'several apart (tools/score.py), or take SLSHook out and set kept_depths'
        )


@HOOKS.register_module()
class SLSHook(Hook):
    """Write a pruning index from the features of a validation or test run, with no forward pass of its own.

    In training it scores the last validation, and every `interval`-th one where that is set; in a stand-alone validation or test always.
    On a backbone that is pruned already it logs the scores and writes no index. A test replaces no index of another split: who tests a model
    does not mean to decide anew.

    Args:
        alpha: Threshold factor, in (0, 1].
        scope: `'stage'` or `'model'`; by default as the task wants: `'model'` for classification, else `'stage'`.
        min_depth: Fewest blocks kept in every stage; by default 1 in scope `'stage'`, 0 in scope `'model'`.
        reference: `'top'` (as published) or `'peak'`.
        max_samples: Most samples kept.
        interval: Score every so many validations of a training run too.
        sampler: Config or name; by default the one of the host's task.
        out_file: The index file, in the work directory unless absolute.
        seed: Seed of the choice of samples and of t-SNE.
        perplexity: t-SNE's perplexity.
        n_jobs: Blocks scored at a time; None: one per core.

    Raises:
        ValueError: If an argument is out of range.
    """

    # Before LoggerHook (BELOW_NORMAL), so that the scores reach the log of the same validation.
    priority = 'NORMAL'

    def __init__(
        self,
        alpha: float = 0.3,
        scope: str | None = None,
        min_depth: int | None = None,
        reference: str = 'top',
        max_samples: int = 2000,
        interval: int | None = None,
        sampler: str | Mapping[str, Any] | None = None,
        out_file: str = 'pruning_index.json',
        seed: int = 0,
        perplexity: float = 30.0,
        n_jobs: int | None = None,
    ) -> None:
        if interval is not None and (not isinstance(interval, int) or interval < 1):
            raise ValueError(f'SLSHook.interval must be a positive number of validations or None, got {interval!r}')
        self.interval, self.out_file = interval, out_file
        self.options = {
            'alpha': alpha,
            'scope': scope,
            'min_depth': min_depth,
            'reference': reference,
            'max_samples': max_samples,
            'sampler': sampler,
            'seed': seed,
            'perplexity': perplexity,
            'n_jobs': n_jobs,
        }
        self.scorer: BlockScorer
        self.active = False
        self.validations = 0

    def before_run(self, runner: Any) -> None:
        """Check the settings before hours of training."""
        options = scorer_options(self.options, DefaultScope.get_current_instance().scope_name)
        self.scorer = BlockScorer(unwrapped(runner), **options)
        check_readers(unwrapped(runner))
        join_tuning(runner, self.priority)
        evaluations = [loop for loop in (runner._val_loop, runner._test_loop) if isinstance(loop, BaseLoop)]
        for loop in evaluations:
            if not self.scorer.sampler.scores_one_class:
                check_has_classes(loop.dataloader.dataset)
            self.scorer.sampler.prepare(loop.dataloader.dataset)
        if not evaluations:
            print_log('SLSHook: this run has no validation, so it writes no index', 'current', logging.WARNING)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Refuse labels out of range before the loss meets them."""
        check = getattr(self.scorer.sampler, 'check_training', None)
        if check is not None:
            for data_sample in labelled(data_batch):
                check(data_sample)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Refuse ground truth that cannot be scored before the host's metric meets it: in the first validation, and in those that are due."""
        if self.active or self.validations == 1:
            self._check(data_batch)

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Refuse ground truth that cannot be scored before the host's metric meets it."""
        self._check(data_batch)

    def before_val_epoch(self, runner: Any) -> None:
        """Start collecting where this validation is due."""
        self.validations += 1
        self._start(self._is_due(runner), runner.val_dataloader)

    def before_test_epoch(self, runner: Any) -> None:
        """Start collecting."""
        self._start(True, runner.test_dataloader)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Take the samples of a batch."""
        self._observe(batch_idx, outputs)

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Take the samples of a batch."""
        self._observe(batch_idx, outputs)

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Score, log, and write the index."""
        self._finish(runner, runner.val_dataloader.dataset, 'val')

    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Score, log, and write the index."""
        self._finish(runner, runner.test_dataloader.dataset, 'test')

    def _is_due(self, runner: Any) -> bool:
        """Whether this validation is scored: the last of a training run, every `interval`-th, any outside training."""
        loop = runner._train_loop
        if not isinstance(loop, BaseLoop):
            return True
        last = loop.iter >= loop.max_iters if isinstance(loop, IterBasedTrainLoop) else loop.epoch >= loop.max_epochs
        return last or (self.interval is not None and self.validations % self.interval == 0)

    def _start(self, due: bool, loader: Any) -> None:
        self.active = due
        if due:
            self.scorer.start(loader)

    def _check(self, data_batch: Any) -> None:
        for data_sample in labelled(data_batch):
            self.scorer.sampler.check(data_sample)

    def _observe(self, batch_idx: int, outputs: Sequence | None) -> None:
        if self.active and outputs is not None:
            self.scorer.observe(batch_idx, outputs)

    def _finish(self, runner: Any, dataset: Any, split: str) -> None:
        if not self.active:
            return
        self.active = False
        warning = reported_split_warning(runner.cfg, (runner.cfg.get(f'{split}_dataloader') or {}).get('dataset'))
        if warning:
            print_log(f'SLS: {warning}', 'current', logging.WARNING)
        scores, index = self.scorer.finish(dataset, split, warning)
        log_scores(scores, index)
        for (stage, block), value in scores.items():
            # Scores of one validation are no history to resume.
            runner.message_hub.update_scalar(f'{split}/sls/stage{stage}_block{block}', value, resumed=False)
        if index is None:
            print_log(
                'SLS: this backbone is pruned already, so its scores are logged and no index is written', 'current'
            )
        elif is_main_process():
            write_index(index, Path(runner.work_dir) / self.out_file)


def write_index(index: PruningIndex, path: Path) -> None:
    """Write an index, unless it comes from a test and the file holds one of another split."""
    ours, stored = index.provenance.get('split'), None
    if ours == 'test' and path.exists():
        with suppress(ValueError):  # what cannot be read is not worth keeping, and no reason to lose the test
            stored = PruningIndex.load(path).provenance.get('split')
    if stored not in (None, ours):
        print_log(
            f'SLS: {path} holds scores of the split {stored!r} and is kept; to have those of {ours!r} there, remove it or set SLSHook.out_file',
            'current',
            logging.WARNING,
        )
        return
    index.save(path)
    print_log(f'SLS: wrote {path}', 'current')
