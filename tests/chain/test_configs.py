from __future__ import annotations

import os

import pytest

from mmsls.chain.configs import (
    as_published,
    check_decision,
    config_digest,
    essential_text,
    full_cfg,
    overriding,
    scored_by,
    taught_by,
    tuning,
    without_sls_hook,
)
from mmsls.features.image_sampler import ImageSampler
from mmsls.hooks import SLSHook
from mmsls.runs import default_split, scoring_options, sls_settings
from mmsls.runs.configs import with_distill

HOOKS = [{'type': 'mmsls.SLSHook', 'alpha': 0.3}, {'type': 'mmsls.SlimCheckpointHook'}]


@pytest.fixture
def tune(tmp_path, detector_cfg):
    return detector_cfg(tmp_path, hooks=HOOKS)


def test_derived_configs_leave_the_original_alone(tune):
    assert [hook['type'] for hook in without_sls_hook(tune).custom_hooks] == ['mmsls.SlimCheckpointHook']
    assert 'adapter' not in full_cfg(tune).model.backbone
    assert tune.model.backbone.adapter.type == 'mmsls.Convpass'
    assert len(tune.custom_hooks) == 2


@pytest.mark.parametrize(
    'kind', ['SLSHook', 'mmsls.SLSHook', 'mmsls.hooks.SLSHook', 'mmsls.hooks.sls_hook.SLSHook', SLSHook]
)
def test_the_hook_is_found_however_its_type_is_written(tune, kind):
    tune.custom_hooks[0].type = kind
    assert sls_settings(tune)['alpha'] == 0.3
    assert [hook['type'] for hook in without_sls_hook(tune).custom_hooks] == ['mmsls.SlimCheckpointHook']


@pytest.mark.parametrize(
    'sampler', [ImageSampler, 'ImageSampler', 'mmsls.ImageSampler', {'type': 'mmsls.ImageSampler'}]
)
def test_the_split_follows_the_sampler_however_it_is_written(tune, sampler):
    assert default_split(tune) == 'val'
    tune.custom_hooks[0].sampler = sampler
    assert default_split(tune) == 'train'
    tune.custom_hooks[0].sampler = 'mine.ImageSamplerOfRegions'
    with pytest.raises(ValueError, match=r"sampler: unknown sampler 'mine\.ImageSamplerOfRegions'"):
        default_split(tune)


def test_what_changes_no_result_does_not_tell_runs_apart(tune, monkeypatch):
    before = essential_text(tune)
    loader = tune.train_dataloader
    loader.dataset.data_root, loader.num_workers = os.path.relpath(loader.dataset.data_root), 3
    tune.work_dir, tune.launcher = 'elsewhere', 'pytorch'
    assert essential_text(tune) == before
    loader.dataset.data_root = 'elsewhere'
    assert essential_text(tune) != before


def test_a_rule_out_of_range_is_refused(tune):
    check_decision(tune, {'alpha': 0.5})
    with pytest.raises(ValueError, match='alpha is 2'):
        check_decision(tune, {'alpha': 2})
    tune.custom_hooks[0].reference = 'middle'
    with pytest.raises(ValueError, match="reference is 'middle'"):
        check_decision(tune, {})


def test_the_hook_decides_by_what_overrides_it(tune):
    tune.custom_hooks[0].criterion = 'ncm'
    read = tuning(tune, {'max_drop': 2.0, 'alpha': None})
    assert sls_settings(read) == {'alpha': 0.3, 'criterion': 'ncm', 'max_drop': 2.0}
    assert read.custom_hooks[1:] == tune.custom_hooks[1:]
    assert scoring_options(read)['rule'] == scoring_options(tune, {'max_drop': 2.0})['rule']
    back = tuning(read, {'scope': 'model', 'alpha': 0.5})
    assert sls_settings(back) == {'alpha': 0.5, 'criterion': 'ncm', 'scope': 'model', 'min_depth': 0}
    assert sls_settings(tune) == {'alpha': 0.3, 'criterion': 'ncm'}
    for bare in (tuning(without_sls_hook(tune), {'alpha': 0.5}), tuning(scored_by(tune, 'bridged'), {'max_drop': 1.0})):
        assert bare.custom_hooks == [{'type': 'mmsls.SlimCheckpointHook'}]


def test_one_walk_over_stages_that_are_rated_each_on_its_own_is_refused(tune, mmdet_host):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    bridged = scored_by(tune, 'bridged')
    check_decision(bridged, {'scope': 'stage'})
    check_decision(scored_by(tune, 'probe'), {'scope': 'model'})
    with pytest.raises(ValueError, match="scope is 'model', and Bridged rates every stage on its own"):
        check_decision(bridged, {'scope': 'model'})


def test_a_scope_brings_its_own_min_depth_along(tune):
    assert overriding(tune, {'scope': 'model', 'alpha': 0.5}) == {'scope': 'model', 'alpha': 0.5, 'min_depth': 0}
    chosen = {'scope': 'model', 'min_depth': 2}
    assert overriding(tune, chosen) == chosen
    assert overriding(tune, {'alpha': 0.5, 'scope': None}) == {'alpha': 0.5, 'scope': None}


def test_as_published_is_sls_read_by_alpha_without_bridges(tune):
    tune.custom_hooks = [
        {'type': 'mmsls.SLSHook', 'criterion': 'bridged', 'max_drop': 1.0, 'alpha': 0.4},
        *tune.custom_hooks[1:],
    ]
    tune.model.backbone.bridge = True
    published = as_published(tune)
    assert published.custom_hooks[0] == {'type': 'mmsls.SLSHook', 'criterion': 'sls', 'alpha': 0.4}
    assert 'bridge' not in published.model.backbone
    assert tune.custom_hooks[0].max_drop == 1.0


def test_distilling_is_a_hook_of_the_retraining_alone(tune):
    retrain = with_distill(without_sls_hook(tune))
    assert [hook['type'] for hook in retrain.custom_hooks] == ['mmsls.SlimCheckpointHook', 'mmsls.DistillHook']
    assert with_distill(retrain).custom_hooks == retrain.custom_hooks
    assert config_digest(tune, retrain) != config_digest(tune, without_sls_hook(tune))
    taught = taught_by(retrain, 'tuned.pth')
    assert taught.custom_hooks[1] == {'type': 'mmsls.DistillHook', 'teacher': 'tuned.pth'}
    assert taught_by(taught, 'other.pth').custom_hooks == taught.custom_hooks
    assert 'teacher' not in retrain.custom_hooks[1]
    assert taught_by(tune, 'tuned.pth').custom_hooks == tune.custom_hooks
    assert [hook['type'] for hook in as_published(retrain).custom_hooks] == ['mmsls.SlimCheckpointHook']


def test_a_criterion_takes_the_place_of_the_hooks_or_gets_one(tune):
    tune.custom_hooks = [{'type': 'SLSHook', 'alpha': 0.4}, {'type': 'EMAHook'}]
    found = scored_by(tune, 'bridged').custom_hooks
    assert found == [{'type': 'SLSHook', 'alpha': 0.4, 'criterion': 'bridged'}, {'type': 'EMAHook'}]
    tune.custom_hooks = [{'type': 'EMAHook'}]
    assert scored_by(tune, 'ncm').custom_hooks == [{'type': 'EMAHook'}, {'type': 'mmsls.SLSHook', 'criterion': 'ncm'}]


def test_a_rank_goes_to_the_criterion_that_has_bridges(tune):
    tune.custom_hooks = []
    criteria = [scored_by(tune, name, rank=8).custom_hooks[0]['criterion'] for name in ('bridged', 'probe')]
    assert criteria == [{'type': 'Bridged', 'rank': 8}, 'probe']


def test_which_config_is_missing_tells_runs_apart(tune):
    assert config_digest(tune, None, tune) == config_digest(tune, None, tune)
    assert config_digest(tune, None, tune) != config_digest(tune, tune, None)


def test_single_blocks_need_a_share_which_may_change_after_scoring(detector_cfg, tmp_path):
    tune = detector_cfg(tmp_path, hooks=[{'type': 'mmsls.SLSHook', 'criterion': 'probe', 'max_drop': 1.0}])
    half, third = (scored_by(tune, 'Taylor', keep) for keep in (0.5, 0.3))
    assert config_digest(half) == config_digest(third)
    check_decision(half, {'keep': 0.5})
    assert overriding(half, {'keep': 0.5})['keep'] == 0.5
    with pytest.raises(ValueError, match='keep is not set, and criterion Taylor rates single blocks'):
        check_decision(scored_by(tune, 'Taylor'), {'keep': None})
    back = scored_by(half, 'ncm')
    check_decision(back, {'max_drop': 1.0})
    assert 'keep' not in back.custom_hooks[0]
