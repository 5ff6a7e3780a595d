from __future__ import annotations

import os

import pytest

from mmsls.chain_configs import check_decision, full_cfg, identity, without_sls_hook

HOOKS = [{'type': 'mmsls.SLSHook', 'alpha': 0.3}, {'type': 'mmsls.SlimCheckpointHook'}]


@pytest.fixture
def tune(tmp_path, detector_cfg):
    return detector_cfg(tmp_path, hooks=HOOKS)


def test_derived_configs_leave_the_original_alone(tune):
    assert [hook['type'] for hook in without_sls_hook(tune).custom_hooks] == ['mmsls.SlimCheckpointHook']
    assert 'adapter' not in full_cfg(tune).model.backbone
    assert tune.model.backbone.adapter.type == 'mmsls.Convpass'
    assert len(tune.custom_hooks) == 2


def test_what_changes_no_result_does_not_tell_runs_apart(tune, monkeypatch):
    before = identity(tune)
    loader = tune.train_dataloader
    loader.dataset.data_root, loader.num_workers = os.path.relpath(loader.dataset.data_root), 3
    tune.work_dir, tune.launcher = 'elsewhere', 'pytorch'
    assert identity(tune) == before
    loader.dataset.data_root = 'elsewhere'
    assert identity(tune) != before


def test_a_rule_out_of_range_is_refused(tune):
    check_decision(tune, {'alpha': 0.5})
    with pytest.raises(ValueError, match='alpha is 2'):
        check_decision(tune, {'alpha': 2})
    tune.custom_hooks[0].reference = 'middle'
    with pytest.raises(ValueError, match="reference is 'middle'"):
        check_decision(tune, {})
