"""Stages of work done once: short real trainings of a classifier, and plain files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch.utils.data import Dataset

from mmsls.chain.configs import config_digest
from mmsls.chain.stages import Stages, keeping_two


class Line(BaseModel):
    """Learns a slope."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        error = (torch.stack(inputs) * self.slope - 2 * torch.stack(inputs)).square().mean()
        return {'loss': error} if mode == 'loss' else [float(error)]


class Numbers(Dataset):
    metainfo = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {'inputs': torch.tensor([float(index)])}


class Error(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {'error': sum(results)}


class Watching:
    """Remembers the stages, and breaks a training off when it starts an epoch."""

    def __init__(self, stop=False):
        self.seen, self.stop, self.resumed = [], stop, None

    def stage(self, name, reused):
        self.seen.append((name, reused))
        return self

    def prepare(self, runner):
        from mmengine.hooks import Hook

        class Breaking(Hook):
            def before_train_epoch(_, runner):
                self.resumed = runner.epoch if self.resumed is None else self.resumed
                if self.stop and runner.epoch == 1:
                    raise KeyboardInterrupt

        runner.register_hook(Breaking())

    def on_batch(self, done, total):
        pass


@pytest.fixture
def cfg(monkeypatch):
    for registry, kind in ((MODELS, Line), (DATASETS, Numbers), (METRICS, Error)):
        monkeypatch.setitem(registry._module_dict, f'StagesTest{kind.__name__}', kind)
    loader = {
        'batch_size': 2,
        'num_workers': 0,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'dataset': {'type': 'StagesTestNumbers'},
    }
    return Config(
        {
            'model': {'type': 'StagesTestLine'},
            'train_dataloader': loader,
            'test_dataloader': loader,
            'train_cfg': {'by_epoch': True, 'max_epochs': 3},
            'test_cfg': {},
            'test_evaluator': {'type': 'StagesTestError'},
            'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.01}},
            'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'interval': 1, 'max_keep_ckpts': 1}},
            'default_scope': 'mmengine',
            'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': 'visualizer'},
        }
    )


def stages_in(folder, progress=None):
    stages = Stages(folder, progress or Watching())
    stages.state.take_over(config_digest(None))
    return stages


def test_work_is_done_once_and_taken_over_later(tmp_path):
    path, done = tmp_path / 'made.json', []

    def work(observer):
        done.append(observer)
        path.write_text('{}')

    stages = stages_in(tmp_path)
    stages.once('make', path, work)
    stages.once('make', path, work)
    assert done == [stages.progress]
    assert stages.progress.seen == [('make', False), ('make', True)]
    with pytest.raises(ZeroDivisionError):
        stages.once('fail', tmp_path / 'other.json', lambda _: 1 / 0)


def test_a_training_and_its_test_leave_what_the_next_call_takes_over(tmp_path, cfg):
    stages = stages_in(tmp_path / 'w')
    assert not stages.is_trained('line')
    checkpoint = stages.train('line', cfg)
    metrics = stages.test('line', cfg, checkpoint)
    assert (stages.is_trained('line'), stages.is_tested('line'), stages.has_best('line')) == (True, True, False)
    assert checkpoint == str(tmp_path / 'w/line/epoch_3.pth')
    assert metrics == stages.metrics('line') == json.loads((tmp_path / 'w/line/metrics.json').read_text())
    assert metrics['error'] > 0
    assert stages.metrics('other') is None
    again = stages_in(tmp_path / 'w')
    assert again.test('line', cfg, again.train('line', cfg)) == metrics
    assert again.progress.seen == [('line', True), ('line: test', True)]


def test_a_training_that_was_broken_off_goes_on(tmp_path, cfg):
    with pytest.raises(KeyboardInterrupt):
        stages_in(tmp_path / 'w', Watching(stop=True)).train('line', cfg)
    stages = stages_in(tmp_path / 'w')
    stages.train('line', cfg)
    assert stages.progress.resumed == 1
    assert stages.progress.seen == [('line', False)]
    whole = stages_in(tmp_path / 'whole')
    ours, theirs = (torch.load(one.train('line', cfg), weights_only=False)['state_dict'] for one in (stages, whole))
    assert torch.equal(ours['slope'], theirs['slope'])


def test_a_checkpoint_that_was_moved_is_found_and_one_that_was_written_over_is_refused(tmp_path, cfg):
    stages_in(tmp_path / 'w').train('line', cfg)
    (tmp_path / 'w').rename(tmp_path / 'moved')
    stages = stages_in(tmp_path / 'moved')
    path = Path(stages.checkpoint('line'))
    assert path == tmp_path / 'moved/line/epoch_3.pth'
    path.write_bytes(b'of another training')
    with pytest.raises(ValueError, match="is not the file that the training 'line'"):
        stages_in(tmp_path / 'moved').checkpoint('line')


def test_a_training_that_leaves_no_checkpoint_is_an_error(tmp_path, cfg):
    cfg.default_hooks.checkpoint.update(interval=10, save_last=False)
    with pytest.raises(RuntimeError, match='line: the training left no checkpoint in'):
        stages_in(tmp_path / 'w').train('line', cfg)


def test_a_config_without_a_seed_has_one_for_all_stages(tmp_path, cfg):
    cfg.randomness = {'deterministic': False}
    stages = stages_in(tmp_path)
    ours = stages.settled('one', cfg).randomness
    assert ours.deterministic is False
    assert stages_in(tmp_path).settled('two', cfg).randomness == ours
    cfg.randomness = {'seed': 7}
    assert stages.settled('three', cfg).randomness.seed == 7
    assert cfg.get('work_dir') is None


def test_a_folder_of_somebody_is_refused(tmp_path, cfg):
    stages = stages_in(tmp_path)
    (tmp_path / 'line').mkdir()
    (tmp_path / 'line/thesis.txt').write_text('mine')
    with pytest.raises(ValueError, match='holds a line that this chain did not write'):
        stages.train('line', cfg)


def test_a_checkpoint_is_never_the_only_one_while_the_next_is_written(cfg):
    assert keeping_two(cfg).default_hooks.checkpoint.max_keep_ckpts == 2
    cfg.default_hooks.checkpoint.max_keep_ckpts = 5
    assert keeping_two(cfg).default_hooks.checkpoint.max_keep_ckpts == 5
