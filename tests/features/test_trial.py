"""The host's images and evaluator, as a criterion that tries the model gets them."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from warm_process import run_scripts

from mmsls.features.trial import Judge, Trial, headline, is_number, is_share, training_images

WORKER = Path(__file__).with_name('judge_worker.py')


@pytest.fixture
def cfg(tmp_path, segmentor_cfg, mmseg_vit_host):
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    return segmentor_cfg(tmp_path)


def test_it_gives_unlabelled_training_images_and_the_hosts_own_validation(cfg):
    trial = Trial(cfg)
    train, val = trial.training(3), trial.validation()
    assert len(train.dataset) == 3
    assert len(val.dataset) == len(trial.validation().dataset) > 0
    pictures = [[sample.img_path for batch in loader for sample in batch['data_samples']] for loader in (train, val)]
    assert len(set(pictures[0])) == 3
    assert not set(pictures[0]) & set(pictures[1])


def test_the_same_images_are_drawn_every_time(cfg):
    first, second = ([batch['data_samples'][0].img_path for batch in training_images(cfg, 2)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize('missing', ['val_evaluator', 'val_dataloader'])
def test_a_config_that_cannot_judge_is_refused(cfg, missing):
    cfg[missing] = None
    with pytest.raises(ValueError, match=f'the config has no .*{missing}'):
        Trial(cfg)


def test_no_images_is_refused(cfg):
    with pytest.raises(ValueError, match='images is 0'):
        Trial(cfg).training(0)


class Dataset(list):
    metainfo = {'classes': ('a', 'b')}


class Metrics:
    metrics = ()

    def __init__(self, **found):
        self.found = found

    def evaluate(self, _):
        return self.found


@pytest.mark.parametrize(
    ('metrics', 'points'),
    [
        ({'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.6}, ('coco/bbox_mAP', 40.0)),
        ({'aAcc': np.float32(80), 'mIoU': np.float32(51.5)}, ('mIoU', 51.5)),
        ({'accuracy/top1': 97.0, 'accuracy/top5': 99.0}, ('accuracy/top1', 97.0)),
        ({'names': ['a'], 'mIoU': math.nan, 'mAcc': 3.0}, ('mAcc', 3.0)),
    ],
)
def test_the_metric_that_is_reported_first_is_read_in_points(metrics, points):
    judge = Judge([], Dataset())
    judge.evaluator = Metrics(**metrics)
    assert judge.points() == pytest.approx(points)


def test_no_number_is_refused():
    judge = Judge({'type': 'Evaluator', 'metrics': []}, Dataset())
    judge.evaluator = Metrics(mIoU=math.nan)
    with pytest.raises(ValueError, match='no finite number'):
        judge.points()


def test_names_and_numbers():
    assert headline({}) is None
    assert headline({'x': 1.0, 'pascal_voc/mAP': 0.2}) == 'pascal_voc/mAP'
    assert [is_share(name) for name in ('coco/segm_mAP_s', 'AR@100', 'mAcc', 'single-label/precision')] == [
        True,
        True,
        False,
        False,
    ]
    assert [is_number(value) for value in (1, np.float32(2), True, 'a', [1])] == [True, True] + [False] * 3


@pytest.fixture
def totals():
    """A metric that keeps one running total, whatever the number of images."""

    @METRICS.register_module(force=True)
    class Totals(BaseMetric):
        default_prefix = 'own'

        def process(self, data_batch, data_samples):
            self.results = [sum(self.results) + sum(data_samples)]

        def compute_metrics(self, results):
            return {'top1': results[0]}

    yield
    METRICS.module_dict.pop('Totals')


def test_a_metric_that_keeps_no_result_per_image_is_named(cfg, totals):
    trial, judge = Trial(cfg), Judge({'type': 'mmengine.Totals'}, Dataset([1] * 6))
    with pytest.raises(ValueError, match='nothing was computed yet'):
        judge.on([0])
    judge.process([10, 20], None)
    judge.process([5, 5, 1, 1], None)
    assert judge.points() == ('own/top1', 42.0)
    why = 'Totals keeps 1 results of 6 images, so it cannot be computed on some of the images'
    assert trial.on_parts([judge], 20) == why


def test_a_metric_that_stumbles_over_a_half_costs_no_curve(cfg, totals, monkeypatch):
    trial, judge = Trial(cfg), Judge({'type': 'mmengine.Totals'}, Dataset([1] * 6))
    judge.evaluator.metrics[0].results, judge.seen = [1] * 6, 6
    assert judge.points() == ('own/top1', 1.0)

    def fail(self, results):
        raise RuntimeError(f'no way with {len(results)}')

    monkeypatch.setattr(type(judge.evaluator.metrics[0]), 'compute_metrics', fail)
    assert trial.on_parts([judge], 20) == 'no way with 3'


def test_guessing_reaches_a_share_of_the_classes_in_accuracy_and_nothing_in_others(totals):
    judge = Judge({'type': 'mmengine.Totals'}, Dataset([1] * 6))
    judge.process([40] * 6, None)
    judge.points()
    assert judge.chance == 50.0
    judge.name = 'own/mIoU'
    assert judge.chance == 0.0


def test_two_processes_judge_halves_as_one(tmp_path):
    commands = [[str(WORKER), str(tmp_path), str(rank)] for rank in range(2)]
    done = run_scripts(commands, [{'GLOO_SOCKET_IFNAME': 'lo'}] * 2)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = runpy.run_path(str(WORKER))['told'](0, 1)
    assert len(alone[1].points) == 20
    told = [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)]
    assert told[0] == told[1] == json.loads(json.dumps(alone))
