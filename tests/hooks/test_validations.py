"""Counting validations and keeping their scores apart."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from mmengine.runner.utils import calc_dynamic_intervals

from mmsls.hooks.validations import drop_scores, is_last, number_of_validation


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


def test_scores_of_one_validation_are_dropped():
    hub = MessageHub.get_instance('test_drop_scores')
    for key in ('val/sls/stage0_block0', 'test/sls/stage0_block0', 'val/mAP'):
        hub.update_scalar(key, 0.5, resumed=key.endswith('mAP'))
    drop_scores(hub, 'val')
    assert set(hub.log_scalars) == set(hub._resumed_keys) == {'test/sls/stage0_block0', 'val/mAP'}
