"""Score the blocks during a validation or test that runs anyway."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmsls.backbones.outputs import check_readers
from mmsls.features.scorer import BlockScorer
from mmsls.features.settings import scorer_options
from mmsls.files.paths import expand_home
from mmsls.hooks.guarded_scorer import GuardedScorer, check_splits
from mmsls.hooks.slim_checkpoint_hook import unwrapped
from mmsls.hooks.tuning_hook import join_tuning
from mmsls.hooks.unscored import BrokenOffNote, ScoreCommand
from mmsls.hooks.validations import as_validated, is_due
from mmsls.hooks.whole_model import check_whole
from mmsls.registry import HOOKS
from mmsls.scoring.rule import Rule

EXTRA_PASS = (
    'no validation scored the last weights of this training: '
    'it is done now, by one more pass over the validation images'
)
NO_FEATURES = (
    '{type} takes no features from a validation, so the curves of the criteria in `also` are left out; '
    'mmsls score CONFIG CHECKPOINT --also NAME makes them'
)


@HOOKS.register_module()
class SLSHook(Hook):
    """Write a pruning index from the features of a validation or test run, with no forward pass of its own.

    Criteria that need more than features (`bridged`, `Taylor`) look at the model after the validation, by passes of
    their own.

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
        also: Other criteria whose curves are left beside, from the same features: a list of names, classes or configs;
            by default `probe` and `ncm` where the criterion looks at features; empty for none. They decide nothing.
        criterion: What scores the blocks: `'sls'`, as published, or the name, class or config of another criterion. One
            that rates single blocks needs `keep`.
        **rule: Options of `Rule`: `alpha=0.3`, `scope` (by default as the task wants: `'model'` for classification,
            else `'stage'`), `min_depth` (by default 1 in scope `'stage'`, 0 in scope `'model'`), `reference='top'`,
            `max_drop` (points; only with a criterion in points, such as `'probe'`, and then in place of `alpha` and
            `reference`), `keep` (share of the blocks that stay; only with a criterion that rates single blocks, such as
            `'Taylor'`).

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
        also: Sequence[str | type | Mapping[str, Any]] | None = None,
        **rule: Any,
    ) -> None:
        check_arguments(interval, rule)
        self.interval, self.out_file = interval, expand_home(out_file)
        self.options = {
            **rule,
            'max_samples': max_samples,
            'sampler': sampler,
            'seed': seed,
            'perplexity': perplexity,
            'n_jobs': n_jobs,
            'criterion': criterion,
            'also': also,
        }
        self.scoring: GuardedScorer
        self.note: BrokenOffNote | None = None

    def before_run(self, runner: Any) -> None:
        """Check the settings and the data before hours of training."""
        check_whole(runner)
        options = scorer_options(self.options, DefaultScope.get_current_instance().scope_name)
        self.scoring = GuardedScorer(BlockScorer(unwrapped(runner), **options), self.out_file)
        if self.options['also'] and not self.scoring.scorer.collects:
            print_log(f'SLS: {NO_FEATURES.format(**self.scoring.scorer.told)}', 'current', logging.WARNING)
        check_readers(unwrapped(runner))
        join_tuning(runner, self.priority)
        self.checking = True
        check_splits(runner, self.scoring)

    def before_train(self, runner: Any) -> None:
        """Be ready to say how to score what is left of a training that is broken off."""
        if is_main_process() and runner.val_loop is not None and self.scoring.prunes:
            self.note = BrokenOffNote(ScoreCommand(runner, 'val', self.out_file))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name labels out of range before the loss meets them."""
        self.scoring.check('check_training', data_batch)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name ground truth that cannot be scored before the host's metric meets it.

        In the first validation, and in those that are due.
        """
        if self.scoring.active or self.checking:
            self.scoring.check('check', data_batch)

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name ground truth that cannot be scored before the host's metric meets it."""
        if self.scoring.active:
            self.scoring.check('check', data_batch)

    def before_val_epoch(self, runner: Any) -> None:
        """Start collecting where this validation is due."""
        self.scoring.start('val', runner.val_dataloader, is_due(runner, self.interval))

    def before_test_epoch(self, runner: Any) -> None:
        """Start collecting."""
        self.scoring.start('test', runner.test_dataloader)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Take the samples of a batch."""
        self.scoring.observe(batch_idx, outputs)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Take the samples of a batch."""
        self.scoring.observe(batch_idx, outputs)

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Score, log, and write the index."""
        self.scoring.finish(runner, 'val')

    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Score, log, and write the index."""
        self.scoring.finish(runner, 'test')

    def after_val(self, runner: Any) -> None:
        """Say what failed, now that the metrics are logged and the best checkpoint is written."""
        self.checking = False
        self._try(runner, 'val')
        self.scoring.report(runner, 'val')

    def after_test(self, runner: Any) -> None:
        """Say what failed, now that the metrics are logged."""
        self._try(runner, 'test')
        self.scoring.report(runner, 'test')

    def after_train(self, runner: Any) -> None:
        """Score the last weights where no validation did.

        Another hook stopped the training, or it was resumed at its end.
        """
        if self.scoring.tried != runner.iter and runner.val_loop is not None and self.scoring.prunes:
            print_log(f'SLS: {EXTRA_PASS}', 'current', logging.WARNING)
            self.scoring.collect(runner.val_dataloader, as_validated(runner, unwrapped(runner)))
            self.scoring.finish(runner, 'val', late=True)
        self.scoring.report(runner, 'val')
        if self.note is not None:
            self.note.cancel()

    def _try(self, runner: Any, split: str) -> None:
        """Let a criterion that looks at no features have the model as it was validated."""
        if self.scoring.active:
            with as_validated(runner, unwrapped(runner)):
                self.scoring.finish(runner, split, late=True)


def check_arguments(interval: Any, rule: Mapping[str, Any]) -> None:
    """Refuse arguments of the hook that do not exist or are out of range.

    Raises:
        ValueError: Naming the first.
    """
    unknown = sorted(set(rule) - set(Rule.options()))
    if unknown:
        raise ValueError(f'SLSHook has no argument {unknown[0]!r}; options of the rule are {", ".join(Rule.options())}')
    if interval is not None and (not isinstance(interval, int) or interval < 1):
        raise ValueError(f'SLSHook.interval must be a positive number of validations or None, got {interval!r}')
