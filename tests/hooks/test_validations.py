"""Counting validations, and which of them are scored."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.runner import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals

from mmsls.hooks.validations import is_due, is_last, number_of_validation


def loop_at(epoch, interval, begin=1, end=20, dynamic=None):
    milestones, intervals = calc_dynamic_intervals(interval, dynamic)
    return SimpleNamespace(
        epoch=epoch,
        max_epochs=end,
        val_begin=begin,
        val_interval=interval,
        dynamic_milestones=milestones,
        dynamic_intervals=intervals,
    )


@pytest.mark.parametrize(
    ('settings', 'validated'),
    [
        ({'interval': 1}, list(range(1, 21))),
        ({'interval': 6}, [6, 12, 18, 20]),
        ({'interval': 2, 'begin': 5}, [6, 8, 10, 12, 14, 16, 18, 20]),
        ({'interval': 5, 'dynamic': [(16, 1)]}, [5, 10, 15, 16, 17, 18, 19, 20]),
        ({'interval': 5, 'dynamic': [(11, 3), (18, 2)]}, [5, 12, 15, 18, 20]),
    ],
)
def test_validations_are_counted_from_where_the_training_stands(settings, validated):
    """The list is what MMEngine's loop runs, its look at the next step's interval included."""
    assert [number_of_validation(loop_at(epoch, **settings)) for epoch in validated] == [*range(1, len(validated) + 1)]
    assert [is_last(loop_at(epoch, **settings)) for epoch in validated] == [False] * (len(validated) - 1) + [True]


def runner_at(epoch, **settings):
    loop = type('Loop', (BaseLoop,), {'run': None, '__init__': lambda *_: None})()
    vars(loop).update(vars(loop_at(epoch, **settings)))
    return SimpleNamespace(_train_loop=loop)


def test_the_last_validation_is_due_and_every_nth():
    due = {n: [epoch for epoch in range(2, 21, 2) if is_due(runner_at(epoch, interval=2), n)] for n in (None, 3)}
    assert due == {None: [20], 3: [6, 12, 18, 20]}


def test_a_stand_alone_validation_is_due():
    assert is_due(SimpleNamespace(_train_loop={'type': 'EpochBasedTrainLoop'}), None)
