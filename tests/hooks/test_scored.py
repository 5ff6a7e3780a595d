"""Scores of one validation are no others'."""

from __future__ import annotations

from mmengine.logging import MessageHub

from mmsls.hooks.scored import drop_scores


def test_scores_of_one_validation_are_dropped():
    hub = MessageHub.get_instance('test_drop_scores')
    for key in ('val/sls/stage0_block0', 'test/sls/stage0_block0', 'val/mAP'):
        hub.update_scalar(key, 0.5, resumed=key.endswith('mAP'))
    drop_scores(hub, 'val')
    assert set(hub.log_scalars) == set(hub._resumed_keys) == {'test/sls/stage0_block0', 'val/mAP'}
