"""Depths tried out on a real segmentor: bisected, and the same as all of them tried."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmsls import runs
from mmsls.criteria import Bridged, Evidence
from mmsls.features.trial import Trial
from mmsls.pruning_index import PruningIndex
from mmsls.runs.verifying import smallest, verify
from mmsls.scoring.candidates import candidates
from mmsls.scoring.curve import Curve
from mmsls.scoring.rule import Rule

DEPTHS = (2, 2, 3, 2)
CURVE = Curve.from_lists([[60.0, 70.0], [66.0, 70.0], [50.0, 69.5, 70.0], [68.0, 70.0]], 'points')
SWIN = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': DEPTHS}


class Known:
    """Depths whose points are known, in the place of a model."""

    def __init__(self, points):
        self.points, self.passes, self.asked = dict(enumerate(points)), 0, set()

    def at(self, *depths):
        new = {depth[0] for depth in depths} - self.asked
        self.passes += bool(new)
        self.asked |= new
        return self.points[depths[0][0]]


def test_a_falling_curve_is_bisected_to_what_the_whole_table_says():
    rng = np.random.default_rng(0)
    for size in range(1, 26):
        points = sorted(rng.uniform(40, 70, size).tolist(), reverse=True)
        for max_drop in (0.0, 1.0, 5.0, 30.0):
            known = Known(points)
            found = smallest([(number,) for number in range(size)], known, max_drop)
            assert found == max(number for number in range(size) if points[0] - points[number] <= max_drop)
            assert known.passes <= 1 + math.ceil(math.log2(size))


def test_a_curve_that_is_not_falling_still_loses_no_more_than_asked():
    rng = np.random.default_rng(1)
    for _ in range(200):
        points = rng.uniform(40, 70, 12).tolist()
        found = smallest([(number,) for number in range(12)], Known(points), 5.0)
        assert points[0] - points[found] <= 5.0


@pytest.fixture(scope='module')
def cfg(tmp_path_factory, segmentor_cfg, mmseg_vit_host):
    """A segmentor, judged by a metric that every change moves; a few iterations leave the mIoU of tiny ones alone."""
    from mmengine.evaluator import BaseMetric
    from mmseg.registry import METRICS
    from mmseg.utils import register_all_modules

    import mmsls.integrations.mmseg  # noqa: F401

    register_all_modules(init_default_scope=False)

    @METRICS.register_module(name='TrueClass', force=True)
    class TrueClass(BaseMetric):
        """How far the logit of the true class stands out from its mean over the pixels, mean over all of them."""

        def process(self, data_batch, data_samples):
            for sample in data_samples:
                logits = sample['seg_logits']['data'].flatten(1).double()
                truth = sample['gt_sem_seg']['data'].long().clamp(max=len(logits) - 1).flatten(1)
                spread = (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True)
                self.results.append(spread.gather(0, truth).mean().item())

        def compute_metrics(self, results):
            return {'true_class': 50 + 100 * float(np.mean(results))}

    yield segmentor_cfg(tmp_path_factory.mktemp('verified'), val_evaluator={'type': 'TrueClass'})
    METRICS.module_dict.pop('TrueClass')


@pytest.fixture(scope='module')
def tuned(cfg, tmp_path_factory, randomise):
    """Weights whose adapters and head do something."""
    path = tmp_path_factory.mktemp('weights') / 'tuned.pth'
    torch.save({'state_dict': randomise(runs.build_model(cfg), only_trainable=True).state_dict()}, path)
    return str(path)


@pytest.fixture
def index():
    return PruningIndex.create(scores=CURVE, backbone=SWIN, scope='stage', min_depth=1, max_drop=0.5)


@pytest.fixture(scope='module')
def table(cfg, tuned):
    """Every candidate's points, all judged in one pass."""
    model = runs.build_model(cfg, tuned)
    evidence = Evidence(model, model.backbone, (), {}, np.zeros(0), trial=Trial(cfg))
    criterion = Bridged()
    criterion.fit(evidence)
    depths = [one.kept_depths for one in candidates(CURVE, Rule(max_drop=1, scope='stage', min_depth=1))]
    return dict(zip(depths, criterion.at_depths(evidence, depths), strict=True))


def test_the_depth_that_the_whole_table_has(cfg, tuned, index, table):
    points = list(table.values())
    assert len({round(value, 2) for value in points}) == len(points), points
    max_drop = float(np.median([max(0.0, points[0] - value) for value in points]))
    found = verify(index, cfg, tuned, max_drop)
    tried = dict(re.findall(r'([\d-]+): ([\d.]+)', found.chosen.rests_on))
    assert 2 <= len(tried) < len(table)
    for kept, value in tried.items():
        assert float(value) == pytest.approx(table[tuple(map(int, kept.split('-')))], abs=0.011)
    expected = smallest([(number,) for number in range(len(points))], Known(points), max_drop)
    assert found.kept_depths == list(table)[expected]
    assert found.chosen.reached == pytest.approx(points[0] - points[expected], abs=1e-3)


def test_what_was_found_is_in_the_index_and_says_what_it_rests_on(cfg, tuned, index, tmp_path):
    found = verify(index, cfg, tuned, 100)
    assert found.kept_depths == (1, 1, 1, 1)
    assert (found.chosen.by, found.chosen.asked, found.chosen.met) == ('verify', 100.0, True)
    for text in ('true_class on 7 validation images in 2 passes, bridged (2-2-3-2: ', 'of tuned.pth, 6 depths to try'):
        assert text in found.chosen.rests_on
    found.save(tmp_path / 'index.json')
    assert PruningIndex.load(tmp_path / 'index.json') == found


def test_a_stage_that_is_emptied_is_not_bridged(cfg, tuned, index):
    with pytest.raises(ValueError, match="scope is 'model': whatever it cuts empties a stage"):
        verify(index.decide(scope='model', min_depth=0), cfg, tuned, 100)
    rising = Curve.from_lists([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0, 65.0], [68.0, 70.0]], 'points')
    rising_index = PruningIndex.create(scores=rising, backbone=SWIN, max_drop=1)
    found = verify(rising_index, cfg, tuned, 100)
    assert found.kept_depths == (2, 2, 3, 1)
    assert '7 that empty a stage cannot be bridged and were left out' in found.chosen.rests_on


def test_what_cannot_be_tried_is_refused(cfg, tuned, index, tmp_path):
    with pytest.raises(ValueError, match='max_drop is nan'):
        verify(index, cfg, tuned, float('nan'))
    with pytest.raises(FileNotFoundError, match='checkpoint: no file'):
        verify(index, cfg, str(tmp_path / 'no.pth'), 1)
    with pytest.raises(ValueError, match='has no val_evaluator'):
        verify(index, type(cfg)({**cfg, 'val_evaluator': None}), tuned, 1)
    other = replace(index, foundation=replace(index.foundation, embed_dims=96))
    with pytest.raises(ValueError, match=r'backbone\.embed_dims is 96 in the index but 8'):
        verify(other, cfg, tuned, 1)
    taylor = PruningIndex.create(scores=Curve(CURVE.values, 'loss'), backbone=SWIN, keep=0.5)
    with pytest.raises(ValueError, match=r'keep is 0\.5: SLS rates single blocks'):
        verify(taylor, cfg, tuned, 1)
