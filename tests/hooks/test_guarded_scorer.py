"""No failure of a scorer reaches the run."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from mmsls.hooks import guarded_scorer
from mmsls.hooks.guarded_scorer import GuardedScorer


class Scorer:
    """Fails where it is told to, and notes what it is asked for."""

    backbone = SimpleNamespace(is_pruned=False)
    collects = True

    def __init__(self, *fails):
        self.fails, self.calls, self.failure, self.sampler = fails, [], None, self

    def _do(self, name):
        self.calls.append(name)
        if name in self.fails:
            raise RuntimeError(name)

    def check_data(self, dataset):
        self._do('check_data')

    def start(self, loader):
        self.failure = None
        self._do('start')

    def observe(self, batch_idx, outputs):
        self._do('observe')

    def collect(self, loader):
        self._do('collect')

    def check(self, data_sample):
        self._do('check')

    def give_up(self, failure):
        self.failure = self.failure or failure


BATCH = {'data_samples': [SimpleNamespace(metainfo={})]}


def test_a_failure_ends_the_collection_and_nothing_else():
    scorer = Scorer('observe')
    scoring = GuardedScorer(scorer, 'index.json')
    scoring.start('val', None)
    for number in range(3):
        scoring.observe(number, [])
    assert scorer.calls == ['start', 'observe']
    assert str(scorer.failure) == 'observe'
    assert scoring.active  # the end of the validation says it


@pytest.mark.parametrize('due', [True, False])
def test_only_what_is_due_is_collected(due):
    scorer = Scorer()
    scoring = GuardedScorer(scorer, 'index.json')
    scoring.start('val', None, due)
    scoring.observe(0, [])
    assert scorer.calls == (['start', 'observe'] if due else [])


def test_a_split_that_cannot_be_scored_is_left_out_or_refused():
    scorer = Scorer('check_data')
    scoring = GuardedScorer(scorer, 'index.json')
    with pytest.raises(RuntimeError, match='check_data'):
        scoring.check_data('val', None, refuses=True)
    scoring.check_data('test', None, refuses=False)
    scoring.start('test', None)
    assert not scoring.active
    scoring.start('val', None)
    assert scoring.active


def test_the_first_fault_of_a_check_is_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(guarded_scorer, 'print_log', lambda text, *_: said.append(text))
    scoring = GuardedScorer(Scorer('check'), 'index.json')
    for _ in range(2):
        scoring.check('check', BATCH)
        scoring.check('check_training', BATCH)  # the sampler has none
    assert said == ['SLS: the blocks cannot be scored: check']


@pytest.mark.parametrize('fails', ['collect', None])
def test_a_pass_of_its_own_is_guarded(fails):
    scorer = Scorer(fails)
    scoring = GuardedScorer(scorer, 'index.json')
    scoring.collect(None, nullcontext())
    assert scoring.active
    assert (scorer.failure is not None) is (fails is not None)


def test_a_failure_is_kept_from_the_finish_to_the_report(monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(guarded_scorer, 'score_split', lambda *_: [] / 0)
    monkeypatch.setattr(guarded_scorer, 'drop_scores', lambda *_: None)
    monkeypatch.setattr(guarded_scorer, 'ScoreCommand', lambda *_: 'command')
    monkeypatch.setattr(guarded_scorer, 'say_unscored', lambda failure, command: told.append((failure, command)))
    runner = SimpleNamespace(_train_loop=None, iter=7, work_dir=tmp_path, message_hub=None)
    scoring = GuardedScorer(Scorer(), 'index.json')
    scoring.finish(runner, 'val')  # nothing was collected
    assert scoring.failure is None
    scoring.start('val', None)
    scoring.finish(runner, 'val')
    assert not scoring.active
    for _ in range(2):
        scoring.report(runner, 'val')
    ((failure, command),) = told
    assert isinstance(failure, TypeError)
    assert command == 'command'
