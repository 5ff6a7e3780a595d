"""Runs by config: which split is scored and how."""

from __future__ import annotations

import re

import pytest

from mmsls import runs
from mmsls.backbones.arguments import CUT
from mmsls.features.splits import reported_split_warning
from mmsls.pruning_index import PruningIndex
from mmsls.runs.configs import cut_by

HOOKS = [{'type': 'mmsls.SLSHook', 'alpha': 0.4, 'max_samples': 50, 'n_jobs': 1}]


@pytest.fixture
def cfg(tmp_path, detector_cfg, mmdet_host):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    return detector_cfg(tmp_path, hooks=HOOKS)


def test_train_split_takes_the_test_transform_and_the_innermost_data_set(cfg):
    cfg.train_dataloader.dataset = {'type': 'RepeatDataset', 'times': 3, 'dataset': cfg.train_dataloader.dataset}
    loader = runs.split_dataloader(cfg, 'train')
    assert loader['dataset']['type'] == 'CocoDataset'
    assert loader['dataset']['ann_file'] == 'annotations/train.json'
    assert loader['dataset']['pipeline'] == cfg.val_dataloader.dataset.pipeline
    assert loader['dataset']['test_mode'] is True
    assert loader['sampler']['shuffle'] is False


def test_unknown_split_is_refused(cfg):
    with pytest.raises(ValueError, match=r"split must be one of .*'all'"):
        runs.split_dataloader(cfg, 'all')


def test_score_writes_an_index_with_the_hooks_settings_and_overrides(cfg, tmp_path, build_runner):
    runner = build_runner({**cfg, 'custom_hooks': []})
    runner.save_checkpoint(str(tmp_path), 'now.pth', save_optimizer=False, save_param_scheduler=False)
    seen = []
    index = runs.score(
        cfg,
        str(tmp_path / 'now.pth'),
        'train',
        tmp_path / 'index.json',
        on_batch=lambda *done: seen.append(done),
        alpha=0.7,
    )
    assert (index.alpha, index.scope, index.provenance['split'], index.provenance['max_samples']) == (
        0.7,
        'stage',
        'train',
        50,
    )
    assert index.provenance['warning'] is None
    assert index.provenance['checkpoint'] == 'now.pth'
    assert len(seen) > 1
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert (tmp_path / 'index.json').stat().st_size < 8192


def test_the_untuned_base_is_scored_without_a_checkpoint(cfg, tmp_path, capsys):
    cfg.log_level = 'INFO'
    index = runs.score(cfg, None, out_file=tmp_path / 'index.json', criterion='ncm')
    assert index.provenance['checkpoint'] == 'untuned'
    assert index.kept_depths == PruningIndex.load(tmp_path / 'index.json').kept_depths
    assert 'SLS: no checkpoint, so the untuned base' in capsys.readouterr().out
    with pytest.raises(ValueError, match='untuned head judges nothing; tune first'):
        runs.score(cfg, None, out_file=tmp_path / 'none.json', criterion='bridged')
    assert not (tmp_path / 'none.json').exists()


def test_other_criteria_change_nothing_of_the_runs_own(cfg, tmp_path, capsys):
    cfg.log_level = 'INFO'
    for name, also in (('alone', ()), ('beside', ['ncm', 'Magnitude'])):
        runs.score(cfg, None, out_file=tmp_path / name / 'pruning_index.json', also=also)
    alone, beside = ((tmp_path / name / 'pruning_index.json').read_bytes() for name in ('alone', 'beside'))
    assert alone == beside
    assert not list((tmp_path / 'alone').glob('also_*'))
    assert re.search(
        r'SLS: scoring took [\d.]+ s by SLS; beside it NCM [\d.]+ s, Magnitude [\d.]+ s', capsys.readouterr().out
    )
    found = {path.name: PruningIndex.load(path) for path in (tmp_path / 'beside').glob('also_*')}
    assert set(found) == {'also_magnitude.json', 'also_ncm.json'}
    assert found['also_magnitude.json'].keep == 0.75
    assert found['also_ncm.json'].provenance['checkpoint'] == 'untuned'


def test_other_criteria_beside_one_that_looks_at_no_features_take_a_pass(cfg, tmp_path, capsys):
    cfg.log_level = 'INFO'
    path = tmp_path / 'pruning_index.json'
    runs.score(cfg, None, out_file=path, criterion='Magnitude', keep=0.5)
    assert not list(tmp_path.glob('also_*'))
    before = path.read_bytes()
    runs.score(cfg, None, out_file=path, criterion='Magnitude', keep=0.5, also=['ncm', 'BlockInfluence'])
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.glob('also_*')} == {'also_ncm.json', 'also_blockinfluence.json'}
    assert 'SLS: NCM would keep' in capsys.readouterr().out


def test_scoring_the_reported_split_is_remarked(cfg):
    assert 'optimistic' in reported_split_warning(cfg, cfg.val_dataloader.dataset)
    assert reported_split_warning(cfg, cfg.train_dataloader.dataset) is None


def test_pruned_backbone_is_not_scored_into_an_index(cfg, tmp_path, build_runner):
    cfg.model.backbone.kept_depths = (2, 2, 2, 1)
    runner = build_runner({**cfg, 'custom_hooks': []})
    runner.save_checkpoint(str(tmp_path), 'now.pth', save_optimizer=False, save_param_scheduler=False)
    with pytest.raises(ValueError, match='kept_depths'):
        runs.score(cfg, str(tmp_path / 'now.pth'), 'val', tmp_path / 'index.json')
    assert not (tmp_path / 'index.json').exists()


def test_home_folders_are_meant_in_every_path(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg.load_from, cfg.work_dir = '~/a.pth', '~/run'
    cfg.train_dataloader.dataset.data_prefix.img = '~/pictures/'
    cfg.dump(tmp_path / 'config.py')
    loaded = runs.load_config('~/config.py', options={'model.backbone.pruning_index': '~/i.json'})
    assert loaded.load_from == str(tmp_path / 'a.pth')
    assert loaded.work_dir == str(tmp_path / 'run')
    assert loaded.train_dataloader.dataset.data_prefix.img == str(tmp_path / 'pictures/') + '/'
    assert loaded.model.backbone.pruning_index == str(tmp_path / 'i.json')
    assert runs.load_config('~/config.py', '~/other').work_dir == str(tmp_path / 'other')
    (tmp_path / 'a.pth').touch()
    assert runs.check_checkpoint('~/a.pth') == str(tmp_path / 'a.pth')


def test_the_configs_of_a_chain_are_read_alike(cfg, tmp_path):
    cfg.dump(tmp_path / 'config.py')
    path = str(tmp_path / 'config.py')
    tune, none, baseline = runs.load_configs((path, None, path), 'elsewhere', {'randomness.seed': 5}, 'slurm')
    assert none is None
    for one in (tune, baseline):
        assert (one.work_dir, one.randomness.seed, one.launcher) == ('elsewhere', 5, 'slurm')


@pytest.mark.parametrize(
    'own', [{}, {'kept_depths': (1, 1, 1, 1)}, {'kept_blocks': [[0, 0]]}, {'pruning_index': 'old'}]
)
def test_an_index_takes_the_place_of_whatever_a_config_keeps(cfg, own):
    cfg.model.backbone.update(own)
    cut = cut_by(cfg, 'new.json').model.backbone
    assert {name: cut[name] for name in CUT if name in cut} == {'pruning_index': 'new.json'}
    assert cut_by(cfg, None).model.backbone == cfg.model.backbone
    assert all(cfg.model.backbone[name] == value for name, value in own.items())
