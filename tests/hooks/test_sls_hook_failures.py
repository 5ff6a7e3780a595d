"""Scoring never costs a training: what goes wrong in it, when it is said, and what is there all the same."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace

import pytest
import torch
from mmengine.hooks import Hook

from mmsls.commands import main
from mmsls.features import ImageSampler, InstanceSampler
from mmsls.hooks import SLSHook, unscored
from mmsls.pruning_index import PruningIndex
from mmsls.registry import DATASETS

SLS = {'type': 'mmsls.SLSHook', 'max_samples': 2000, 'n_jobs': 1}
SLIM = {'type': 'mmsls.SlimCheckpointHook'}


def log_of(folder):
    return ''.join(path.read_text() for path in sorted(folder.glob('2*/*.log')))


def validations(folder):
    """Return what the validations logged, in order."""
    paths = sorted(folder.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [line for line in lines if 'coco/bbox_mAP' in line or 'mIoU' in line]


class BuggySampler(InstanceSampler):
    """Fails on what the first image brings."""

    name = 'BuggySampler'

    def __call__(self, *arguments):
        return [] / 0


class BuggyCheck(InstanceSampler):
    """Fails in its checks of a batch, not of the first record."""

    name = 'BuggyCheck'
    seen = 0

    def check(self, data_sample):
        type(self).seen += 1
        if self.seen > 1:
            raise KeyError('seen')

    def check_training(self, data_sample):
        raise IndexError('training')


class OneClass(InstanceSampler):
    """Finds everything to be of one class, whatever is named."""

    name = 'OneClass'

    def __call__(self, *arguments):
        return [replace(sample, label=3) for sample in super().__call__(*arguments)]


def relabelled(scenes, tmp_path, change):
    content = json.loads((scenes / 'annotations/val.json').read_text())
    change(content)
    path = tmp_path / 'changed.json'
    path.write_text(json.dumps(content))
    return str(path)


def four_boxes(content):
    content['annotations'] = content['annotations'][:4]


FAILURES = {
    'bug': ({'sampler': BuggySampler}, None, 'unsupported operand'),
    'bug in a check': ({'sampler': {'type': f'{__name__}.BuggyCheck'}}, None, 'seen'),
    'one class': ({'sampler': OneClass}, None, 'only the class'),
    'few samples': ({}, four_boxes, r'4 samples|shape \(4'),
    'disk': ({'out_file': 'config.py/index.json'}, None, 'config.py'),
}


@pytest.mark.parametrize(('settings', 'change', 'match'), FAILURES.values(), ids=FAILURES)
def test_a_failure_costs_no_training(
    detector_cfg, build_runner, tmp_path, scenes, settings, change, match, monkeypatch
):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[BuggySampler.__module__])
    monkeypatch.setattr(BuggyCheck, 'seen', 0)
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'config.py').write_text('a file, no folder')
    cfg = detector_cfg(folder, hooks=[{**SLS, **settings}, SLIM], epochs=1, log_level='INFO')
    if change is not None:
        cfg.val_dataloader.dataset.ann_file = cfg.val_evaluator.ann_file = relabelled(scenes, tmp_path, change)
    (folder / 'pruning_index.json').write_text('an index of earlier weights')
    build_runner(cfg).train()
    assert list(folder.glob('best_*.pth'))
    assert (folder / 'epoch_1.pth').exists()
    (metrics,) = validations(folder)
    assert any('sls/' in key for key in metrics) is ('out_file' in settings)
    log = log_of(folder)
    assert len(re.findall('no index is written', log)) == 1
    assert re.search(rf'no index is written: [^\n]*({match})', log)
    said = log.index('no index is written')
    assert log.index('Epoch(val) [1]') < said
    assert log.index('The best checkpoint') < said
    assert re.search(rf'mmsls score .*{folder}/epoch_1.pth --split val --out {folder}', log[said:])
    if 'bug' in str(settings).lower():
        assert 'Traceback' in log[said:]
    if 'out_file' not in settings:
        assert (folder / 'pruning_index.earlier.json').read_text() == 'an index of earlier weights'
        assert not (folder / 'pruning_index.json').exists()


def test_the_command_in_the_log_scores(detector_cfg, build_runner, tmp_path, monkeypatch):
    """It is pasted as it stands."""
    broken = monkeypatch.context()
    with broken as patch:
        patch.setattr('mmsls.hooks.sls_hook.BlockScorer.finish', lambda *_: [] / 0)
        build_runner(detector_cfg(tmp_path, hooks=[{**SLS, 'out_file': 'here.json'}, SLIM], epochs=1)).train()
    command = shlex.split(re.search('To score what it saved: (.*)', log_of(tmp_path))[1])
    assert command[:2] == ['mmsls', 'score']
    monkeypatch.setattr(sys, 'argv', command)
    main()
    assert PruningIndex.load(tmp_path / 'here.json').provenance['split'] == 'val'


# A training that ends before its last validation.


class Stop(Hook):
    """Stops as EarlyStoppingHook does, after the validation of a certain epoch or iteration."""

    priority = 'LOWEST'

    def __init__(self, at):
        self.at = at

    def after_val_epoch(self, runner, metrics=None):
        if self.at in (runner.epoch, runner.iter):
            runner.train_loop.stop_training = True


LIVELY = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.03}}
EMA = {'type': 'EMAHook', 'momentum': 0.2}
EARLY = {
    'type': 'EarlyStoppingHook',
    'monitor': 'coco/bbox_mAP',
    'rule': 'greater',
    'patience': 1,
    'min_delta': 2.0,
}


@pytest.mark.parametrize('averaged', [False, True], ids=['plain', 'ema'])
def test_an_early_stop_is_scored_with_its_last_weights(detector_cfg, build_runner, tmp_path, averaged):
    hooks = [EARLY, SLS, SLIM, *([EMA] if averaged else [])]
    cfg = detector_cfg(tmp_path / 'run', hooks=hooks, epochs=9, optim_wrapper=LIVELY, log_level='INFO')
    runner = build_runner(cfg)
    runner.train()
    assert runner.epoch == 2
    assert 'one more pass over the validation images' in log_of(tmp_path / 'run')
    assert not any('sls/' in key for line in validations(tmp_path / 'run') for key in line)
    if averaged:
        # The weights are those of the training again, and EMA's own ones are saved as usual.
        state = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=True)['ema_state_dict']
        kept = {key.removeprefix('module.'): value for key, value in state.items() if key.startswith('module.')}
        now = runner.model.state_dict()
        assert all(torch.equal(now[key], value) for key, value in kept.items())
    build_runner(detector_cfg(tmp_path / 'test', hooks=[SLS], load_from=str(tmp_path / 'run/epoch_2.pth'))).test()
    found, expected = (PruningIndex.load(tmp_path / name / 'pruning_index.json') for name in ('run', 'test'))
    assert found.scores == expected.scores
    assert found.provenance['split'] == 'val'


def test_a_stopped_iteration_loop_is_scored(segmentor_cfg, build_runner, tmp_path):
    cfg = segmentor_cfg(tmp_path, hooks=[SLS], iterations=8)
    runner = build_runner(cfg)
    runner.register_hook(Stop(4))
    runner.train()
    assert runner.iter == 4
    assert PruningIndex.load(tmp_path / 'pruning_index.json').provenance['sampler'] == 'RegionSampler'


def test_a_stop_at_a_scored_validation_costs_no_pass(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[{**SLS, 'interval': 2}], epochs=9, log_level='INFO')
    runner = build_runner(cfg)
    runner.register_hook(Stop(4))
    runner.train()
    log = log_of(tmp_path)
    assert 'SLS: wrote' in log
    assert 'one more pass' not in log


def test_a_failure_in_the_extra_pass_is_said(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[{**SLS, 'sampler': BuggySampler}], epochs=9)
    runner = build_runner(cfg)
    runner.register_hook(Stop(1))
    runner.train()
    assert 'no index is written: unsupported operand' in log_of(tmp_path)


class Interrupt(Hook):
    """Breaks the run off as Ctrl-C does."""

    def __init__(self, after):
        self.after = after

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.after:
            raise KeyboardInterrupt


@pytest.fixture
def at_exit(monkeypatch):
    """What the interpreter would call when it ends."""
    calls = []
    monkeypatch.setattr(unscored.atexit, 'register', calls.append)
    monkeypatch.setattr(unscored.atexit, 'unregister', calls.remove)
    monkeypatch.setattr(unscored.BrokenOffNote, 'pending', {})
    return calls


def test_a_run_that_is_broken_off_says_how_to_score(detector_cfg, build_runner, tmp_path, at_exit):
    runner = build_runner(detector_cfg(tmp_path, hooks=[SLS], epochs=3))
    runner.register_hook(Interrupt(3))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    (say,) = at_exit
    say()
    log = log_of(tmp_path)
    assert re.search(rf'broken off, .*mmsls score .*{tmp_path}/epoch_1.pth --split val', log)
    build_runner(detector_cfg(tmp_path, hooks=[SLS], epochs=3, resume=True)).train()
    assert not at_exit


def test_a_run_that_is_broken_off_before_its_first_checkpoint_says_nothing(
    detector_cfg, build_runner, tmp_path, at_exit
):
    runner = build_runner(detector_cfg(tmp_path, hooks=[SLS], epochs=1))
    runner.register_hook(Interrupt(0))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    (say,) = at_exit
    say()
    assert 'broken off' not in log_of(tmp_path)


# Resuming.


def scored_at(folder):
    return [line['step'] for line in validations(folder) if any('sls/' in key for key in line)]


def test_interval_counts_over_a_resume_in_epochs(detector_cfg, build_runner, tmp_path):
    def make(**more):
        return build_runner(detector_cfg(tmp_path, hooks=[{**SLS, 'interval': 2, 'max_samples': 30}], epochs=5, **more))

    runner = make()
    runner.register_hook(Interrupt(2 * 3))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    make(resume=True).train()
    assert scored_at(tmp_path) == [2, 4, 5]


def test_interval_counts_over_a_resume_in_iterations(segmentor_cfg, build_runner, tmp_path):
    def make(**more):
        settings = {**SLS, 'interval': 2, 'max_samples': 44}
        return build_runner(segmentor_cfg(tmp_path, hooks=[settings], iterations=10, **more))

    runner = make()
    runner.register_hook(Interrupt(6))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    make(resume=True).train()
    assert scored_at(tmp_path) == [4, 8, 10]
    assert len(validations(tmp_path)) == 5


# Data sets that are not MMEngine's.


class PlainDataset(torch.utils.data.Dataset):
    """A torch data set: items and a length, and the class names that the host's metric wants."""

    def __init__(self, cfg):
        self.inner = DATASETS.build(cfg)
        self.metainfo = self.inner.metainfo

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, number):
        return self.inner[number]


def test_a_plain_data_set_of_nameless_images_is_scored(detector_cfg, build_runner, tmp_path):
    build_runner(detector_cfg(tmp_path / 'train', epochs=1)).train()
    found = []
    for name in ('plain', 'host'):
        cfg = detector_cfg(tmp_path / name, hooks=[SLS], load_from=str(tmp_path / 'train/epoch_1.pth'))
        if name == 'plain':
            cfg.test_dataloader.dataset.pipeline[-1].meta_keys = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')
            cfg.test_dataloader.dataset = {'type': PlainDataset, 'cfg': cfg.test_dataloader.dataset}
        build_runner(cfg).test()
        found.append(PruningIndex.load(tmp_path / name / 'pruning_index.json'))
    assert found[0].scores == found[1].scores
    assert found[0].provenance['order_hash'] == found[1].provenance['order_hash']
    assert found[0].provenance['dataset'] == 'PlainDataset'


# What is refused before a training.


@pytest.mark.parametrize(
    ('classes', 'settings', 'match'),
    [
        ('RBC', {}, r"the text 'RBC'.*classes=\('RBC',\), with the comma"),
        (
            tuple('0123456789ab'),
            {'max_samples': 23},
            'max_samples=23 leaves fewer than two samples.* 12 classes.* at least 24',
        ),
    ],
    ids=['text', 'more than samples'],
)
def test_class_names_are_refused_before_training(detector_cfg, build_runner, tmp_path, classes, settings, match):
    cfg = detector_cfg(tmp_path, hooks=[{**SLS, **settings}])
    cfg.val_dataloader.dataset.metainfo = {'classes': classes}
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match=match):
        runner.train()
    assert runner.iter == 0


def test_meta_keys_are_refused_before_training_and_cost_a_test_nothing(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[SLS])
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline[-1].meta_keys = ('img_id', 'ori_shape', 'scale_factor')
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match='meta'):
        runner.train()
    assert runner.iter == 0


def test_a_look_at_the_data_changes_no_random_number(detector_cfg, build_runner, tmp_path):
    """The first loss is that of a run without the hook, although a pipeline drew numbers."""
    losses = []
    for name, hooks in (('with', [SLS]), ('without', [])):
        cfg = detector_cfg(tmp_path / name, hooks=hooks, epochs=1, log_level='INFO')
        cfg.val_dataloader.dataset.pipeline.insert(1, {'type': 'PhotoMetricDistortion'})
        build_runner(cfg).train()
        path = next((tmp_path / name).glob('*/vis_data/scalars.json'))
        losses.append([line['loss'] for line in map(json.loads, path.read_text().splitlines()) if 'loss' in line])
    assert losses[0] == losses[1]


# One meaning, however it is written.


@pytest.mark.parametrize(
    'sampler',
    [ImageSampler, 'ImageSampler', 'mmsls.ImageSampler', 'mmsls.features.image_sampler.ImageSampler'],
    ids=['class', 'name', 'scoped', 'path'],
)
def test_a_sampler_says_its_scope_and_split_however_it_is_written(sampler):
    from mmsls import runs
    from mmsls.features.settings import scorer_options

    for written in (sampler, {'type': sampler}):
        cfg = {'default_scope': 'mmdet', 'custom_hooks': [{'type': SLSHook, 'sampler': written}]}
        options = scorer_options(runs.sls_settings(cfg), 'mmdet')
        assert (options['rule'].scope, options['rule'].min_depth, runs.default_split(cfg)) == ('model', 0, 'train')


@pytest.mark.parametrize('kind', [SLSHook, 'SLSHook', 'mmsls.SLSHook', 'mmsls.hooks.sls_hook.SLSHook'])
def test_the_hooks_settings_are_found_however_its_type_is_written(kind):
    from mmsls import runs

    assert runs.sls_settings({'custom_hooks': [{'type': 'EMAHook'}, {'type': kind, 'alpha': 0.7}]}) == {'alpha': 0.7}
    assert runs.sls_settings({'custom_hooks': [SLSHook(alpha=0.7)]})['alpha'] == 0.7
    assert runs.sls_settings({'custom_hooks': [{'type': 'other.SLSHook', 'alpha': 0.7}]}) == {}
