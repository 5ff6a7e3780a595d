"""A scorer beside a run: what fails in it never ends the run, and is kept for when the run has what it is for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import BaseLoop

from mmsls.features.data_checks import labelled
from mmsls.features.scorer import BlockScorer
from mmsls.hooks.scored import drop_scores, score_split
from mmsls.hooks.unscored import ScoreCommand, say_unscored
from mmsls.hooks.validations import training_of
from mmsls.pruning_index.keeping import set_stale_index_aside


class GuardedScorer:
    """Lets a scorer collect during some validations and tests of a run; a run is worth more than its scores.

    Call `start`, then `observe` after every iteration, or `collect` in the place of both; then `finish`, and `report`
    once the metrics are logged and the checkpoints written.

    Args:
        scorer: The scorer.
        out_file: The index file, in the work directory unless absolute.

    Attributes:
        active: Whether it collects now.
        tried: Iteration of the training at which it scored last, or failed to; None outside training.
        failure: Why the last collection has no scores, from `finish` to `report`.
    """

    def __init__(self, scorer: BlockScorer, out_file: str) -> None:
        self.scorer, self.out_file = scorer, out_file
        self.active = False
        self.tried: int | None = None
        self.failure: Exception | None = None
        self._refused: set[str] = set()

    @property
    def prunes(self) -> bool:
        """Whether an index comes of the scores: on a pruned backbone they decide nothing."""
        return not self.scorer.backbone.is_pruned

    def check_data(self, split: str, dataset: Any, refuses: bool) -> None:
        """Look at the data set of a split: one that cannot be scored is refused, or left out, and that is said.

        Raises:
            ValueError: If it cannot be scored and `refuses` is set.
        """
        try:
            self.scorer.check_data(dataset)
        except Exception as error:
            if refuses:
                raise
            self._refused.add(split)
            print_log(f'SLS: this {split} run will not be scored: {error}', 'current', logging.WARNING)

    def start(self, split: str, loader: Any, due: bool = True) -> None:
        """Begin a collection, if one is due and the split can be scored."""
        self.active = due and split not in self._refused
        if self.active:
            with self._guarded():
                self.scorer.start(loader)

    def check(self, name: str, data_batch: Any) -> None:
        """Let the sampler look at a batch; the first fault is said at once, since the host may stumble over it next.

        Args:
            name: The sampler's check of one data sample, `check` or `check_training`; it need not have it.
            data_batch: What the loader gave.
        """
        check = getattr(self.scorer.sampler, name, None)
        if check is None or self.scorer.failure is not None:
            return
        with self._guarded():
            for data_sample in labelled(data_batch):
                check(data_sample)
        if self.scorer.failure is not None:
            print_log(f'SLS: the blocks cannot be scored: {self.scorer.failure}', 'current', logging.WARNING)

    def observe(self, batch_idx: int, outputs: Sequence[Any] | None) -> None:
        """Take the samples of a batch, if a collection is on."""
        if self.active and outputs is not None and self.scorer.failure is None:
            with self._guarded():
                self.scorer.observe(batch_idx, outputs)

    def collect(self, loader: Any, prepared: AbstractContextManager[None]) -> None:
        """Collect by a pass of the scorer's own.

        Args:
            loader: Its data loader.
            prepared: Holds the model as the pass wants it; its failure is the collection's.
        """
        self.active = True
        with self._guarded(), prepared:
            self.scorer.collect(loader)

    def finish(self, runner: Any, split: str, late: bool = False) -> None:
        """Score what was collected, if a collection is on: log the scores and write the index.

        Args:
            runner: The run.
            split: The split that was collected.
            late: Whether the validation is over, other hooks included. A criterion that looks at no features waits.
        """
        if not self.active:
            return
        if not self.scorer.collects and not late:
            return
        self.active = False
        self.tried = runner.iter if training_of(runner) is not None else None
        try:
            score_split(runner, split, self.scorer, Path(runner.work_dir) / self.out_file)
        except Exception as error:
            self.failure = error

    def report(self, runner: Any, split: str) -> None:
        """End a validation: its scores leave the log, and where there are none it is said why."""
        drop_scores(runner.message_hub, split)
        failure, self.failure = self.failure, None
        if failure is not None and is_main_process():
            if split == 'val' and training_of(runner) is not None and self.prunes:
                set_stale_index_aside(Path(runner.work_dir) / self.out_file)
            say_unscored(failure, ScoreCommand(runner, split, self.out_file))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let a failure end the collection; every process learns of it when what was collected is asked for."""
        try:
            yield
        except Exception as error:
            self.scorer.give_up(error)


def check_splits(runner: Any, scoring: GuardedScorer) -> None:
    """Look at the data sets of a run: a training's validation that cannot be scored is refused, of others it is said.

    Raises:
        ValueError: If a training's validation cannot be scored.
    """
    loops = {'val': runner._val_loop, 'test': runner._test_loop}
    loops = {split: loop for split, loop in loops.items() if isinstance(loop, BaseLoop)}
    if not loops:
        print_log('SLSHook: this run has no validation, so it writes no index', 'current', logging.WARNING)
    for split, loop in loops.items():
        refuses = split == 'val' and training_of(runner) is not None
        scoring.check_data(split, loop.dataloader.dataset, refuses)
