"""Each host's metric on half of its images: the same as of a metric that never saw the others."""

from __future__ import annotations

import json
import logging
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from mmsls.features import half_samples
from mmsls.features.half_samples import parts_of, silence
from mmsls.features.trial import Judge
from mmsls.scoring.resampling import half_samples as drawn
from mmsls.scoring.resampling import of_half_samples

HALF = [0, 2, 5]


class Images(list):
    """As many images as there are samples, and their classes."""

    metainfo = {'classes': tuple('0123456789')}


def judge_of(evaluator, samples):
    judge = Judge(evaluator, Images(samples))
    for start in range(0, len(samples), 3):
        judge.process([sample.to_dict() for sample in samples[start : start + 3]], None)
    return judge


@pytest.fixture
def boxes(scenes, mmdet_host):
    """What a detector might find on the seven validation scenes: the truth, shifted, some of it missed or misnamed."""
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.structures import InstanceData

    register_all_modules()
    truth, rng = json.loads((scenes / 'annotations/val.json').read_text()), np.random.default_rng(0)
    samples = []
    for image in truth['images']:
        there = [box for box in truth['annotations'] if box['image_id'] == image['id']]
        corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (box['bbox'] for box in there)])
        labels = torch.tensor([box['category_id'] - truth['categories'][0]['id'] for box in there])
        found = InstanceData(
            bboxes=corners + torch.from_numpy(rng.uniform(-5, 5, corners.shape)).float(),
            labels=torch.where(torch.from_numpy(rng.random(len(there)) < 0.8), labels, 3),
            scores=torch.from_numpy(rng.random(len(there))).float(),
        )
        sample = DetDataSample(metainfo={'img_id': image['id'], 'ori_shape': (image['height'], image['width'])})
        sample.gt_instances = InstanceData(bboxes=corners, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        sample.pred_instances = found
        sample.set_metainfo(
            {
                'instances': [
                    {'bbox': c, 'bbox_label': n} for c, n in zip(corners.tolist(), labels.tolist(), strict=True)
                ]
            }
        )
        samples.append(sample)
    return samples


@pytest.fixture
def annotations(scenes, tmp_path):
    """Annotation files of all validation scenes and of half of them."""
    whole = json.loads((scenes / 'annotations/val.json').read_text())
    half = deepcopy(whole)
    half['images'] = [whole['images'][number] for number in HALF]
    ids = {image['id'] for image in half['images']}
    half['annotations'] = [box for box in whole['annotations'] if box['image_id'] in ids]
    (tmp_path / 'half.json').write_text(json.dumps(half))
    return str(scenes / 'annotations/val.json'), str(tmp_path / 'half.json')


def test_coco(boxes, annotations, tmp_path):
    whole = {'type': 'mmdet.CocoMetric', 'ann_file': annotations[0], 'outfile_prefix': str(tmp_path / 'kept')}
    judge = judge_of(whole, boxes)
    name, points = judge.points()
    written = (tmp_path / 'kept.bbox.json').read_text()
    alone = judge_of({'type': 'mmdet.CocoMetric', 'ann_file': annotations[1]}, [boxes[number] for number in HALF])
    assert name == 'coco/bbox_mAP'
    assert judge.on(HALF) == alone.points()[1] != points
    assert judge.on(range(7)) == points
    assert (tmp_path / 'kept.bbox.json').read_text() == written


def test_coco_without_an_annotation_file(boxes):
    judge = judge_of({'type': 'mmdet.CocoMetric'}, boxes)
    whole = judge.points()[1]
    assert judge.on(HALF) == judge_of({'type': 'mmdet.CocoMetric'}, [boxes[number] for number in HALF]).points()[1]
    assert judge.on(range(7)) == whole > 0


def test_voc(boxes):
    voc = {'type': 'mmdet.VOCMetric', 'metric': 'mAP', 'eval_mode': 'area'}
    judge = judge_of(voc, boxes)
    name, points = judge.points()
    assert name == 'pascal_voc/mAP'
    assert judge.on(HALF) == judge_of(voc, [boxes[number] for number in HALF]).points()[1] != points


def test_iou(mmseg_vit_host):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules()
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 10, (7, 1, 8, 8), generator=draw)
    found = torch.where(torch.rand(truth.shape, generator=draw) < 0.6, truth, 4)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=true), pred_sem_seg=PixelData(data=seen))
        for true, seen in zip(truth, found, strict=True)
    ]
    judge = judge_of({'type': 'mmseg.IoUMetric'}, samples)
    name, points = judge.points()
    true, seen = truth[HALF], found[HALF]
    shared = [((true == c) & (seen == c)).sum() / ((true == c) | (seen == c)).sum() for c in range(10)]
    assert name == 'mIoU'
    assert judge.on(HALF) == pytest.approx(100 * float(np.mean(shared)), abs=0.006)
    assert judge.on(range(7)) == points


@pytest.fixture
def accuracies(mmpretrain_host):
    """Judges of three classifiers, of which the better ones are right where the worse ones are, and who is right."""
    from mmpretrain.structures import DataSample

    hard = np.random.default_rng(0).random(300)
    right = np.stack([hard < share for share in (0.6, 0.8, 0.9)])
    judges = []
    for row in right:
        samples = [DataSample().set_gt_label(n % 10) for n in range(300)]
        for number, (sample, hit) in enumerate(zip(samples, row, strict=True)):
            sample.set_pred_score(torch.eye(10)[(number + (not hit)) % 10])
        judges.append(judge_of({'type': 'mmpretrain.Accuracy'}, samples))
    return judges, right


@pytest.fixture
def mmpretrain_host():
    from mmpretrain.utils import register_all_modules

    register_all_modules()


def test_accuracies_have_the_standard_errors_of_the_textbook(accuracies):
    judges, right = accuracies
    points = [judge.points()[1] for judge in judges]
    assert judges[0].on([0, 7, 9]) == pytest.approx(100 * right[0][[0, 7, 9]].mean(), abs=1e-4)
    found = parts_of(judges, 300, rounds=1000)
    assert (len(found.points), found.kept, found.size) == (1000, 150, 300)
    halves = of_half_samples([(0, 0), (0, 1), (0, 2)], points, found.points, found.kept, found.size)
    shares = right.mean(axis=1)
    alone = 100 * np.sqrt(shares * (1 - shares) / 300)  # binomial
    assert halves.others.std(axis=0) == pytest.approx(alone, rel=0.1)
    lost = shares[2] - shares[:2]  # what one block alone gets right
    ((low, middle, top),) = halves.drop_errors('model')
    assert [low, middle, top] == pytest.approx([*100 * np.sqrt(lost * (1 - lost) / 300), 0], rel=0.1)


def test_halves_are_the_same_for_every_judge_and_again(accuracies):
    judges, right = accuracies
    for judge in judges:
        judge.points()
    seen = []
    found = parts_of(judges, 300, 5, seed=2, on_round=lambda *done: seen.append(done))
    expected = [[100 * row[part].mean() for row in right] for part in drawn(300, 5, 500, seed=2)]
    assert np.allclose(found.points, expected, atol=1e-4)
    assert found == parts_of(judges, 300, 5, seed=2)
    assert seen == [(done, 5) for done in range(1, 6)]


def test_a_slow_metric_has_the_fewest_rounds(accuracies, monkeypatch):
    judges, _ = accuracies
    judges[0].points()
    monkeypatch.setattr(half_samples, 'SECONDS', 0.0)
    assert len(parts_of(judges[:1], 300, 50).points) == half_samples.LEAST
    assert len(parts_of(judges[:1], 300, 3).points) == 3


class Fixed:
    """A judge of known points."""

    def __init__(self, *points):
        self.points = iter(points)

    def on(self, images):
        return next(self.points)


def test_halves_without_a_number_are_left_out_and_too_many_of_them_are_refused():
    found = parts_of([Fixed(*[50.0, float('nan'), -100.0] * 25)], 10, 75)
    assert found.points == [[50.0]] * 25
    with pytest.raises(ValueError, match='only 10 of 30 halves of 5 images give a number'):
        parts_of([Fixed(*[50.0, float('nan'), -100.0] * 10)], 10, 30)
    with pytest.raises(ValueError, match='3 images are too few to take halves of'):
        parts_of([Fixed()], 3, 30)


def test_the_hosts_are_silent_meanwhile_and_speak_again(capsys):
    logger = MMLogger.get_instance('half-samples', log_level='INFO')
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    with silence():
        print('table')
        logger.info('table')
    logger.info('again')
    assert said == ['again']
    assert 'table' not in capsys.readouterr().out
