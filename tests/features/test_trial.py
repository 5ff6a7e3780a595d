"""The host's images and evaluator, as a criterion that tries the model gets them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmsls.features.trial import Judge, Trial, headline, is_number, is_share, training_images


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
