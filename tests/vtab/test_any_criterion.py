"""Criteria in SLS's place: one of ten lines, by CONTRIBUTING's recipe, on a detector, a segmentor, a classifier."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mmsls import runs
from mmsls.criteria import CRITERIA, FeatureCriterion
from mmsls.pruning_index import PruningIndex

NAMES = itertools.count()


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
        cfg.experiment_name = f'any_{next(NAMES)}'  # MMEngine keys scopes and logs by name and second
        return cfg

    return run


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_a_criterion_of_ten_lines_scores_every_task(cfg_of, spread, task, tmp_path):
    index = runs.score(cfg_of(task, criterion='ClassSpread'), None, out_file=tmp_path / 'index.json')
    assert (index.criterion, index.curve.unit) == ({'type': 'ClassSpread'}, 'share of variance')
    assert all(0 < score < 1 for score in index.scores.values())
    assert len(index.scores) == sum(index.backbone['depths'])
    assert PruningIndex.load(tmp_path / 'index.json') == index


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_a_criterion_in_points_and_the_rule_in_points_on_every_task(cfg_of, task, tmp_path):
    cfg = cfg_of(task, criterion='probe', max_drop=2.0, max_samples=200)
    index = runs.score(cfg, None, out_file=tmp_path / 'index.json')
    assert (index.criterion, index.curve.unit, index.max_drop) == ({'type': 'Probe'}, 'points', 2.0)
    assert PruningIndex.load(tmp_path / 'index.json') == index
    assert runs.score(cfg, None, out_file=tmp_path / 'again.json', alpha=0.3).rule == index.rule.but(alpha=0.3)


def test_how_sure_the_decision_is_stands_in_index_and_log(cfg_of, tmp_path):
    cfg = cfg_of('classification', criterion='ncm', max_drop=2.0, max_samples=200)
    cfg.log_level = 'INFO'
    sure = runs.score(cfg, None, out_file=tmp_path / 'index.json').provenance['stability']
    assert sure['rounds'] == 500
    assert sum(sure['shares'].values()) == pytest.approx(1)
    assert all(len(depths) == 1 for depths in sure['between'])
    assert 'stability' not in runs.score(cfg, None, criterion='sls', alpha=0.3).provenance
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert log.count('sure: of 500 bootstraps') == 1
    assert '(max_drop 2 points, scope model)' in log


@pytest.mark.parametrize('criterion', ['sls', 'LinearProbe', 'logme', None])
def test_a_max_drop_without_points_is_refused_before_anything_is_built(cfg_of, criterion):
    with pytest.raises(ValueError, match='max_drop is 1 points, but the curve counts'):
        runs.scoring_options(cfg_of('detection', criterion=criterion), {'max_drop': 1.0})


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


SINGLE = ['Magnitude', 'Random', 'Taylor', 'BlockInfluence', 'CKAInfluence']


ONE_EACH = {('detection', 'Taylor'), ('segmentation', 'BlockInfluence'), ('classification', 'Magnitude')}
ROWS = [
    pytest.param(task, name, marks=() if (task, name) in ONE_EACH else pytest.mark.long)
    for task in ('detection', 'segmentation', 'classification')
    for name in SINGLE
]


@pytest.mark.parametrize(('task', 'name'), ROWS)
def test_a_criterion_that_rates_single_blocks_chooses_some_on_every_task(cfg_of, task, name, tmp_path):
    cfg = cfg_of(task, criterion=name, keep=0.5)
    cfg.randomness = {'seed': 0}
    index = runs.score(cfg, None, out_file=tmp_path / 'index.json')
    depths = index.backbone['depths']
    stages = [depths] if task == 'classification' else [[depth] for depth in depths]
    assert len(index.kept_blocks) == sum(-(-sum(stage) // 2) for stage in stages)
    assert index.criterion == {'type': name}
    assert len(index.scores) == sum(depths)
    assert PruningIndex.load(tmp_path / 'index.json') == index
    assert runs.score(cfg, None, out_file=tmp_path / 'again.json').scores == index.scores


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_the_hook_chooses_by_the_loss_and_leaves_the_training_as_it_is(cfg_of, build_runner, task, tmp_path):
    trained = {}
    for name, hook in (('without', None), ('with', {'criterion': 'Taylor', 'keep': 0.5, 'interval': 1})):
        cfg = cfg_of(task, **(hook or {}))
        cfg.work_dir = str(tmp_path / name)
        if hook is None:
            cfg.custom_hooks = []
        runner = build_runner(cfg)
        runner.train()
        trained[name] = runner.model.state_dict()
    assert all(torch.equal(value, trained['with'][key]) for key, value in trained['without'].items())
    index = PruningIndex.load(tmp_path / 'with/pruning_index.json')
    assert (index.criterion, index.keep) == ({'type': 'Taylor'}, 0.5)
    assert index.provenance['split'] == 'train'
    assert 0 < index.provenance['images'] <= 8 * 2
    checkpoint = next(path for path in (tmp_path / 'with').glob('*.pth') if path.stem in ('epoch_2', 'iter_4'))
    again = runs.score(cfg, str(checkpoint), out_file=tmp_path / 'index.json')
    assert again.scores == pytest.approx(index.scores, rel=1e-5)
    assert again.provenance['dataset'] == index.provenance['dataset']
    cfg.model.backbone.pruning_index = str(tmp_path / 'with/pruning_index.json')
    assert runs.build_model(cfg, str(checkpoint)).backbone.kept_blocks == index.kept_blocks
    assert runs.test(cfg, str(checkpoint))


def test_images_that_a_criterion_does_not_look_at_are_refused(cfg_of):
    with pytest.raises(ValueError, match="split 'val': Taylor looks at the loss on training images; leave it out"):
        runs.score(cfg_of('detection', criterion='Taylor', keep=0.5), None, split='val')


def test_a_config_without_training_images_is_refused(cfg_of):
    cfg = cfg_of('detection', criterion='Taylor', keep=0.5)
    cfg.train_dataloader = None
    with pytest.raises(ValueError, match='the config has no train_dataloader'):
        runs.score(cfg, None)
