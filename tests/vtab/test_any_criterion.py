"""Criteria in the place of SLS: one of ten lines, written by CONTRIBUTING's recipe, on a detector, a segmentor and a classifier."""

from __future__ import annotations

import numpy as np
import pytest

from mmsls import runs
from mmsls.criteria import CRITERIA, FeatureCriterion
from mmsls.pruning_index import PruningIndex


@pytest.fixture(scope='module')
def spread():
    """A criterion of a few lines."""

    @CRITERIA.register_module()
    class ClassSpread(FeatureCriterion):
        """Share of the features' variance that lies between the classes."""

        unit = 'share of variance'

        def score(self, features, labels, seed):
            means = {label: features[labels == label].mean(0) for label in set(labels.tolist())}
            between = np.stack([means[label] for label in labels.tolist()])
            return float(between.var(0).sum() / features.var(0).sum())

    yield ClassSpread
    CRITERIA.module_dict.pop('ClassSpread')


@pytest.fixture
def cfg_of(detector_cfg, segmentor_cfg, vit_cfg, tmp_path):
    """A function that gives a config of a task."""
    from mmdet.utils import register_all_modules as mmdet_modules
    from mmseg.utils import register_all_modules as mmseg_modules

    import mmsls.integrations.mmseg  # noqa: F401

    mmdet_modules(init_default_scope=False)
    mmseg_modules(init_default_scope=False)
    makers = {'detection': detector_cfg, 'segmentation': segmentor_cfg}

    def run(task, **hook):
        hooks = [{'type': 'mmsls.SLSHook', 'max_samples': 60, **hook}]
        cfg = makers[task](tmp_path, hooks=hooks) if task in makers else vit_cfg(custom_hooks=hooks)
        cfg.work_dir = str(tmp_path)
        return cfg

    return run


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_a_criterion_of_ten_lines_scores_every_task(cfg_of, spread, task, tmp_path):
    index = runs.score(cfg_of(task, criterion='ClassSpread'), None, out_file=tmp_path / 'index.json')
    assert (index.criterion, index.curve.unit) == ({'type': 'ClassSpread'}, 'share of variance')
    assert all(0 < score < 1 for score in index.scores.values())
    assert len(index.scores) == sum(index.backbone['depths'])
    assert PruningIndex.load(tmp_path / 'index.json') == index


def test_the_hook_scores_by_it_while_training(cfg_of, build_runner, tmp_path):
    build_runner(cfg_of('detection', criterion={'type': 'mmsls.LinearProbe', 'folds': 2}, perplexity=5.0)).train()
    index = PruningIndex.load(tmp_path / 'pruning_index.json')
    assert index.criterion == {'type': 'LinearProbe', 'folds': 2}
    assert index.curve.unit == 'accuracy above chance'
    assert index.provenance['perplexity'] is None


def test_sls_is_the_default_and_the_tool_overrides_the_hook(cfg_of):
    cfg = cfg_of('detection', perplexity=5.0)
    plain, named = (runs.score(cfg, None, criterion=criterion) for criterion in (None, 'sls'))
    assert plain == named
    assert plain.criterion == {'type': 'SLS'}
    other = runs.score(cfg, None, criterion='PlainSilhouette')
    assert other.criterion == {'type': 'PlainSilhouette'}
    assert other.scores != plain.scores
