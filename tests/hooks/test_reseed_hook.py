"""A training that was broken off and resumed is the one that was not, to the last bit."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmsls import runs
from mmsls.hooks.reseed_hook import SeededBatches, reseed
from mmsls.runs.resuming import chosen_checkpoint, last_checkpoint

SLS = [
    {'type': 'mmsls.SLSHook', 'max_samples': 60, 'n_jobs': 1, 'perplexity': 5.0},
    {'type': 'mmsls.SlimCheckpointHook'},
]
STOPPING = {'type': 'EarlyStoppingHook', 'monitor': 'coco/bbox_mAP', 'patience': 2, 'min_delta': 0.1, 'rule': 'less'}
_NAMES = itertools.count()


class Broken(Exception):
    """Stands for a kill."""


@HOOKS.register_module()
class BreakHook(Hook):
    """Breaks off at the n-th call of a method."""

    def __init__(self, method, at, priority='VERY_LOW'):
        self.left, self.priority = at, priority
        setattr(self, method, self._count)

    def _count(self, runner, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise Broken


def detector(detector_cfg, work_dir, workers, **more):
    cfg = detector_cfg(work_dir, hooks=SLS, epochs=3, **more)
    return with_chance(cfg, workers)


def segmentor(segmentor_cfg, work_dir, workers):
    cfg = segmentor_cfg(work_dir, hooks=SLS, iterations=6)
    cfg.default_hooks.checkpoint.interval = 1
    return with_chance(cfg, workers)


def with_chance(cfg, workers):
    loader = cfg.train_dataloader
    loader.num_workers, loader.persistent_workers = workers, workers > 0
    loader.dataset.pipeline.insert(-1, {'type': 'RandomFlip', 'prob': 0.5})
    loader.dataset.pipeline.insert(-1, {'type': 'PhotoMetricDistortion'})
    return cfg


def train(cfg, break_off=None, resume=False):
    cfg = cfg.copy()
    cfg.experiment_name = f'reseed_{next(_NAMES)}'
    if break_off:
        cfg.custom_hooks = [*cfg.custom_hooks, {'type': 'BreakHook', **break_off}]
    if resume:
        cfg.load_from, cfg.resume = last_checkpoint(Path(cfg.work_dir)), True
    return runs.train(cfg)


def outcome(runner):
    best = chosen_checkpoint(runner)
    state = {key: value.clone() for key, value in runner.model.state_dict().items()}
    index = json.loads((Path(runner.work_dir) / 'pruning_index.json').read_text())
    return state, index, best and (Path(best[0]).name, best[1])


def assert_same(ours, other):
    assert all(torch.equal(value, other[0][key]) for key, value in ours[0].items())
    assert ours[1:] == other[1:]


@pytest.fixture(scope='module')
def hosts(mmdet_host):
    import mmdet.utils
    import mmseg.utils

    import mmsls.integrations.mmdet
    import mmsls.integrations.mmseg  # noqa: F401

    mmdet.utils.register_all_modules(init_default_scope=False)
    mmseg.utils.register_all_modules(init_default_scope=False)


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.long)])
def test_epochs_that_are_resumed_are_the_unbroken_ones(tmp_path, detector_cfg, hosts, workers):
    unbroken = outcome(train(detector(detector_cfg, tmp_path / 'unbroken', workers)))
    places = [
        {'method': 'after_train_iter', 'at': 4},
        {'method': 'before_val_epoch', 'at': 3},
        {'method': 'after_val_epoch', 'at': 2, 'priority': 'LOWEST'},
    ]
    for number, place in enumerate(places[: 3 if workers == 0 else 1]):
        cfg = detector(detector_cfg, tmp_path / str(number), workers)
        with pytest.raises(Broken):
            train(cfg, place)
        assert_same(unbroken, outcome(train(cfg, resume=True)))


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.long)])
def test_iterations_that_are_resumed_are_the_unbroken_ones(tmp_path, segmentor_cfg, hosts, workers):
    unbroken = outcome(train(segmentor(segmentor_cfg, tmp_path / 'unbroken', workers)))
    places = [
        {'method': 'after_train_iter', 'at': 4},
        {'method': 'before_val_epoch', 'at': 3},
    ]
    for number, place in enumerate(places[: 2 if workers == 0 else 1]):
        cfg = segmentor(segmentor_cfg, tmp_path / str(number), workers)
        with pytest.raises(Broken):
            train(cfg, place)
        assert_same(unbroken, outcome(train(cfg, resume=True)))


def test_early_stopping_counts_on(tmp_path, detector_cfg, hosts):
    plateau = {'type': 'ReduceOnPlateauLR', 'monitor': 'coco/bbox_mAP', 'rule': 'less', 'patience': 0, 'threshold': 0.0}
    cfgs = [
        detector_cfg(tmp_path / name, hooks=[SLS[1], STOPPING], epochs=5, param_scheduler=[dict(plateau)])
        for name in ('unbroken', 'broken')
    ]
    unbroken = train(cfgs[0])
    assert unbroken.epoch < 5
    with pytest.raises(Broken):
        train(cfgs[1], {'method': 'before_train_epoch', 'at': unbroken.epoch})
    again = train(cfgs[1], resume=True)
    assert again.epoch == unbroken.epoch
    assert again.optim_wrapper.get_lr() == unbroken.optim_wrapper.get_lr()


def test_seeds_reach_every_generator():
    def draw(*place):
        reseed(*place)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(0, 0, 1, 2) == draw(0, 0, 1, 2)
    drawn = [draw(*place) for place in itertools.product((0, 1), repeat=4)]
    assert all(len({values[n] for values in drawn}) == len(drawn) for n in range(3))
    draw(-1, 0, 0, 0)


@pytest.mark.parametrize(('batches', 'workers'), [(5, 2), (4, 2), (1, 3), (7, 3)])
def test_workers_number_the_batches_as_torch_deals_them(batches, workers):
    loader = torch.utils.data.DataLoader(range(batches), num_workers=workers, persistent_workers=True)
    seeded = SeededBatches(0, 0, loader, endless=False)
    for worker in range(workers):
        mine = [n for n in range(3 * batches) if (n % batches) % workers == worker]
        for seeded.done, number in enumerate(mine):
            assert seeded.number(worker, workers) == number


@pytest.mark.parametrize(
    ('checkpoint', 'wrapper', 'said'),
    [
        ({'save_optimizer': False}, {}, 'no state of the optimizer'),
        ({'by_epoch': False}, {}, 'within an epoch'),
        ({}, {'accumulative_counts': 4}, 'gradients were being accumulated'),
        ({}, {}, None),
    ],
)
def test_what_cannot_be_restored_is_said(tmp_path, detector_cfg, hosts, checkpoint, wrapper, said, caplog):
    cfg = detector_cfg(tmp_path, hooks=[SLS[1]], epochs=2)
    cfg.default_hooks.checkpoint = {'type': 'CheckpointHook', 'interval': 1, **checkpoint}
    cfg.optim_wrapper.update(wrapper)
    place = {'method': 'after_train_iter', 'at': 1 if 'by_epoch' in checkpoint else 3, 'priority': 'LOWEST'}
    with pytest.raises(Broken):
        train(cfg, place)
    train(cfg, resume=True)
    texts = [path.read_text() for path in tmp_path.glob('*/*.log')]
    found = [line for text in texts for line in text.splitlines() if 'differs from one that was not broken off' in line]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
