"""Score the blocks during a validation or test that runs anyway."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop

from mmsls.backbones.outputs import check_readers
from mmsls.features.data_checks import labelled
from mmsls.features.scorer import BlockScorer, log_scores, scorer_options, walk
from mmsls.features.splits import reported_split_warning
from mmsls.files.paths import expand_home
from mmsls.hooks.slim_checkpoint_hook import unwrapped
from mmsls.hooks.tuning_hook import join_tuning
from mmsls.hooks.unscored import BrokenOffNote, ScoreCommand, say_unscored, set_stale_index_aside
from mmsls.hooks.validations import as_validated, drop_scores, is_last, number_of_validation, training_of
from mmsls.pruning_index import PruningIndex
from mmsls.registry import HOOKS
from mmsls.scoring.rule import Rule

EXTRA_PASS = 'no validation scored the last weights of this training: it is done now, by one more pass over the validation images'


@HOOKS.register_module()
class SLSHook(Hook):
    """Write a pruning index from the features of a validation or test run, with no forward pass of its own.

    In training it scores the last validation, and every `interval`-th one where that is set; in a stand-alone
    validation or test always. A training that stops before its last validation is scored when it ends, with one more
    pass over the validation images. On a backbone that is pruned already it logs the scores and writes no index. A test
    replaces no index of another split: who tests a model does not mean to decide anew.

    What cannot be scored is refused before a training begins, as far as it can be known. After that nothing here ends a
    run: whatever fails is said when the metrics are logged and the checkpoints written, with the command that scores
    what was saved.

    Args:
        max_samples: Most samples kept.
        interval: Score every so many validations of a training run too.
        sampler: Name, class or config; by default the one of the host's task.
        out_file: The index file, in the work directory unless absolute.
        seed: Seed of the choice of samples and of t-SNE.
        perplexity: t-SNE's perplexity.
        n_jobs: Blocks that SLS scores at a time; None: one per core.
        criterion: What scores the blocks: `'sls'`, as published, or the name, class or config of another criterion that
            rates depths.
        **rule: Options of `Rule`: `alpha=0.3`, `scope` (by default as the task wants: `'model'` for classification,
            else `'stage'`), `min_depth` (by default 1 in scope `'stage'`, 0 in scope `'model'`), `reference='top'`,
            `max_drop` (points; only with a criterion in points, such as `'probe'`, and then in place of `alpha` and
            `reference`).

    Raises:
        ValueError: If an argument is out of range.
    """

    # Before LoggerHook (BELOW_NORMAL), so that the scores reach the log of the same validation.
    priority = 'NORMAL'

    def __init__(
        self,
        max_samples: int = 2000,
        interval: int | None = None,
        sampler: str | type | Mapping[str, Any] | None = None,
        out_file: str = 'pruning_index.json',
        seed: int = 0,
        perplexity: float = 30.0,
        n_jobs: int | None = None,
        criterion: str | type | Mapping[str, Any] = 'sls',
        **rule: Any,
    ) -> None:
        unknown = sorted(set(rule) - set(Rule.options()))
        if unknown:
            raise ValueError(
                f'SLSHook has no argument {unknown[0]!r}; options of the rule are {", ".join(Rule.options())}'
            )
        if interval is not None and (not isinstance(interval, int) or interval < 1):
            raise ValueError(f'SLSHook.interval must be a positive number of validations or None, got {interval!r}')
        self.interval, self.out_file = interval, expand_home(out_file)
        self.options = {
            **rule,
            'max_samples': max_samples,
            'sampler': sampler,
            'seed': seed,
            'perplexity': perplexity,
            'n_jobs': n_jobs,
            'criterion': criterion,
        }
        self.scorer: BlockScorer
        self.active = self.checking = False
        self.failure: Exception | None = None
        self.tried: int | None = None
        self.note: BrokenOffNote | None = None

    def before_run(self, runner: Any) -> None:
        """Check the settings and the data before hours of training."""
        options = scorer_options(self.options, DefaultScope.get_current_instance().scope_name)
        self.scorer = BlockScorer(unwrapped(runner), **options)
        check_readers(unwrapped(runner))
        join_tuning(runner, self.priority)
        self.active, self.checking, self.failure, self.tried = False, True, None, None
        loops = {'val': runner._val_loop, 'test': runner._test_loop}
        loops = {split: loop for split, loop in loops.items() if isinstance(loop, BaseLoop)}
        if not loops:
            print_log('SLSHook: this run has no validation, so it writes no index', 'current', logging.WARNING)
        self.refused = {split for split, loop in loops.items() if not self._may_score(runner, split, loop)}

    def before_train(self, runner: Any) -> None:
        """Be ready to say how to score what is left of a training that is broken off."""
        if is_main_process() and runner.val_loop is not None and not self.scorer.backbone.is_pruned:
            self.note = BrokenOffNote(ScoreCommand(runner, 'val', self.out_file))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name labels out of range before the loss meets them."""
        self._check('check_training', data_batch)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name ground truth that cannot be scored before the host's metric meets it: in the first validation, and in those that are due."""
        if self.active or self.checking:
            self._check('check', data_batch)

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name ground truth that cannot be scored before the host's metric meets it."""
        if self.active:
            self._check('check', data_batch)

    def before_val_epoch(self, runner: Any) -> None:
        """Start collecting where this validation is due."""
        self._start('val', runner.val_dataloader, self._is_due(runner))

    def before_test_epoch(self, runner: Any) -> None:
        """Start collecting."""
        self._start('test', runner.test_dataloader, True)

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
        self._finish(runner, 'val')

    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Score, log, and write the index."""
        self._finish(runner, 'test')

    def after_val(self, runner: Any) -> None:
        """Say what failed, now that the metrics are logged and the best checkpoint is written."""
        self.checking = False
        self._report(runner, 'val')

    def after_test(self, runner: Any) -> None:
        """Say what failed, now that the metrics are logged."""
        self._report(runner, 'test')

    def after_train(self, runner: Any) -> None:
        """Score the last weights where no validation did: another hook stopped the training, or it was resumed at its end."""
        if self.tried != runner.iter and runner.val_loop is not None and not self.scorer.backbone.is_pruned:
            print_log(f'SLS: {EXTRA_PASS}', 'current', logging.WARNING)
            with self._guarded(), as_validated(runner, unwrapped(runner)):
                walk(unwrapped(runner), runner.val_dataloader, self.scorer)
            self.active = True
            self._finish(runner, 'val')
        self._report(runner, 'val')
        if self.note is not None:
            self.note.cancel()

    def _may_score(self, runner: Any, split: str, loop: BaseLoop) -> bool:
        """Look at a data set; what a training's validation cannot score is refused, what a stand-alone run cannot score is said."""
        try:
            self.scorer.check_data(loop.dataloader.dataset)
        except Exception as error:
            if split == 'val' and training_of(runner) is not None:
                raise
            print_log(f'SLS: this {split} run will not be scored: {error}', 'current', logging.WARNING)
            return False
        return True

    def _is_due(self, runner: Any) -> bool:
        """Whether this validation is scored: the last of a training run, every `interval`-th, any outside training."""
        loop = training_of(runner)
        if loop is None or is_last(loop):
            return True
        return self.interval is not None and number_of_validation(loop) % self.interval == 0

    def _start(self, split: str, loader: Any, due: bool) -> None:
        self.active = due and split not in self.refused
        if self.active:
            with self._guarded():
                self.scorer.start(loader)

    def _check(self, name: str, data_batch: Any) -> None:
        """Let the sampler look at a batch; the first fault is said at once, since the host may stumble over it next."""
        check = getattr(self.scorer.sampler, name, None)
        if check is None or self.scorer.failure is not None:
            return
        with self._guarded():
            for data_sample in labelled(data_batch):
                check(data_sample)
        if self.scorer.failure is not None:
            print_log(f'SLS: the blocks cannot be scored: {self.scorer.failure}', 'current', logging.WARNING)

    def _observe(self, batch_idx: int, outputs: Sequence | None) -> None:
        if self.active and outputs is not None and self.scorer.failure is None:
            with self._guarded():
                self.scorer.observe(batch_idx, outputs)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep a failure for the end; a run is worth more than its scores."""
        try:
            yield
        except Exception as error:
            self.scorer.give_up(error)

    def _finish(self, runner: Any, split: str) -> None:
        if not self.active:
            return
        self.active = False
        self.tried = runner.iter if training_of(runner) is not None else None
        try:
            self._score(runner, split)
        except Exception as error:
            self.failure = error

    def _score(self, runner: Any, split: str) -> None:
        warning = reported_split_warning(runner.cfg, (runner.cfg.get(f'{split}_dataloader') or {}).get('dataset'))
        if warning:
            print_log(f'SLS: {warning}', 'current', logging.WARNING)
        scores, index = self.scorer.finish(split, warning)
        log_scores(scores, index, self.scorer.criterion.unit)
        for (stage, block), value in scores.items():
            # Scores of one validation are no history to resume.
            runner.message_hub.update_scalar(f'{split}/sls/stage{stage}_block{block}', value, resumed=False)
        if index is None:
            print_log(
                'SLS: this backbone is pruned already, so its scores are logged and no index is written', 'current'
            )
        elif is_main_process():
            write_index(index, Path(runner.work_dir) / self.out_file)

    def _report(self, runner: Any, split: str) -> None:
        drop_scores(runner.message_hub, split)
        failure, self.failure = self.failure, None
        if failure is not None and is_main_process():
            if split == 'val' and training_of(runner) is not None and not self.scorer.backbone.is_pruned:
                set_stale_index_aside(Path(runner.work_dir) / self.out_file)
            say_unscored(failure, ScoreCommand(runner, split, self.out_file))


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
