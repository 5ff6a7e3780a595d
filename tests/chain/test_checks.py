from __future__ import annotations

import pytest

from mmsls.chain.checks import PARTS, check_builds, check_configs, with_test

HOOKS = [{'type': 'mmsls.SLSHook'}, {'type': 'mmsls.SlimCheckpointHook'}]


@pytest.fixture
def cfg(tmp_path, detector_cfg, mmdet_host):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    return detector_cfg(tmp_path, hooks=HOOKS)


def without(cfg, *parts):
    for part in parts:
        for name in PARTS[part]:
            cfg.pop(name)
    return cfg


def test_a_config_without_a_test_part_is_tested_on_its_validation_images(cfg):
    given = without(cfg, 'test')
    ours = with_test(given)
    assert ours.test_dataloader == given.val_dataloader
    assert ours.test_evaluator == given.val_evaluator
    assert 'test_dataloader' not in given
    check_configs(given)
    check_builds(ours)


@pytest.mark.parametrize(
    ('parts', 'message'),
    [(('train',), 'no train part'), (('val',), "split 'val'"), (('val', 'test'), 'neither a test')],
)
def test_a_missing_part_is_refused(cfg, parts, message):
    with pytest.raises(ValueError, match=message):
        check_configs(without(cfg, *parts))


@pytest.mark.parametrize('name', [name for names in PARTS.values() for name in names])
def test_half_a_part_is_refused(cfg, name):
    cfg.pop(name)
    with pytest.raises(ValueError, match=f'belong together, and it lacks {name}'):
        check_configs(cfg)


def test_what_the_other_configs_lack_is_seen_too(cfg, tmp_path, detector_cfg):
    for other in (
        {'pruned': without(detector_cfg(tmp_path), 'train')},
        {'baseline': without(detector_cfg(tmp_path), 'train')},
    ):
        with pytest.raises(ValueError, match='no train part'):
            check_configs(cfg, **other)


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        ({'weight': 0}, ValueError, 'DistillHook: weight must be a number above 0, got 0'),
        ({'teacher': 'nowhere.pth'}, FileNotFoundError, r"no file at 'nowhere\.pth'"),
    ],
)
def test_what_would_end_the_retraining_when_it_begins_is_seen_too(
    cfg, tmp_path, detector_cfg, settings, error, message
):
    pruned = detector_cfg(tmp_path, hooks=[{'type': 'mmsls.DistillHook', **settings}])
    with pytest.raises(error, match=message):
        check_configs(cfg, pruned)
    check_configs(cfg, detector_cfg(tmp_path, hooks=[{'type': 'mmsls.DistillHook'}]))


def test_where_no_model_is_tuned_at_full_depth_none_can_be_distilled(cfg):
    cfg.custom_hooks = [{'type': 'mmsls.DistillHook'}, *HOOKS]
    with pytest.raises(ValueError, match='--decide-first tunes no model at full depth that could be distilled'):
        check_configs(cfg, decide_first=True)


def test_a_test_set_that_is_not_there_is_seen_before_training(cfg):
    cfg.test_dataloader.dataset.ann_file = 'nowhere.json'
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        check_builds(cfg)
