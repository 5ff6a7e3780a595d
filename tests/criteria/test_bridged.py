"""The host's metric at every depth, what was removed bridged: the same as of the models that are really cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmsls import runs
from mmsls.backbones.bridge_fit import BridgeFit
from mmsls.criteria import Bridged, Evidence, build_criterion
from mmsls.criteria.trying import in_groups
from mmsls.features.trial import Trial
from mmsls.pruning_index import PruningIndex
from mmsls.runs.configs import with_bridge

DEPTHS = (2, 2, 3, 2)


@pytest.fixture(scope='module')
def cfg(tmp_path_factory, segmentor_cfg, mmseg_vit_host):
    from mmseg.utils import register_all_modules

    import mmsls.integrations.mmseg  # noqa: F401

    register_all_modules(init_default_scope=False)
    hooks = [{'type': 'mmsls.SLSHook', 'criterion': 'bridged', 'max_drop': 5.0}, {'type': 'mmsls.SlimCheckpointHook'}]
    return segmentor_cfg(tmp_path_factory.mktemp('bridged'), hooks=hooks, iterations=8)


@pytest.fixture(scope='module')
def trained(cfg):
    """A training whose last validation scores by it."""
    runs.train(cfg)
    return f'{cfg.work_dir}/iter_8.pth'


@pytest.fixture(scope='module')
def written(cfg, trained):
    return PruningIndex.load(f'{cfg.work_dir}/pruning_index.json')


def points(cfg, checkpoint):
    return runs.test(cfg, checkpoint)['mIoU']


def test_the_hook_writes_what_the_tool_does(cfg, trained, written, tmp_path):
    again = runs.score(cfg, trained, out_file=tmp_path / 'index.json')
    assert written.criterion == {'type': 'Bridged'}
    assert written.curve.unit == 'points'
    assert written.scores == again.scores
    assert written.kept_depths == again.kept_depths
    assert written.provenance['metric'] == 'mIoU'
    assert written.provenance['split'] == 'val'
    assert written.provenance['images'] == 7
    for name in ('stability', 'drop_errors', 'together'):
        assert written.provenance[name] == again.provenance[name]
    ncm = PruningIndex.load(tmp_path / 'index.also_ncm.json')  # from a pass of its own, when all else was done
    assert list(ncm.scores) == list(again.scores)
    assert 'What other criteria say' in (tmp_path / 'index.report.html').read_text(encoding='utf-8')


def test_the_index_says_how_sure_it_is(cfg, written):
    stability, errors = written.provenance['stability'], written.provenance['drop_errors']
    assert (stability['rounds'], stability['drawn']) == (50, 'half-samples')
    assert sum(stability['shares'].values()) == pytest.approx(1, abs=0.01)
    assert tuple(map(len, errors)) == DEPTHS
    for stage, found in enumerate(errors):
        values = [written.scores[stage, block] for block in range(DEPTHS[stage])]
        assert found[values.index(max(values))] == 0
        assert max(found) > 0
    assert written.provenance['chance'] == 0
    assert Path(f'{cfg.work_dir}/pruning_index.json').stat().st_size < 2048
    assert PruningIndex.load(f'{cfg.work_dir}/pruning_index.json') == written


def test_the_tops_have_the_metric_of_the_whole_model(cfg, trained, written):
    whole = points(cfg, trained)
    tops = [written.scores[stage, depth - 1] for stage, depth in enumerate(DEPTHS)]
    assert tops == pytest.approx([whole] * 4, abs=0.011)


@pytest.mark.parametrize('kept', [(2, 2, 1, 2), (1, 2, 3, 2)])
def test_a_depth_has_the_metric_of_the_model_that_is_cut_and_bridged(cfg, trained, written, tmp_path, kept):
    cut = with_bridge(cfg)
    cut.model.backbone.kept_depths, cut.custom_hooks = kept, []
    runs.bridge(cut, trained, tmp_path / 'bridged.pth')
    stage = next(stage for stage, depth in enumerate(DEPTHS) if kept[stage] < depth)
    found = written.scores[stage, kept[stage] - 1]
    assert found == pytest.approx(points(cut, str(tmp_path / 'bridged.pth')), abs=0.011)


def evidence(cfg, trained):
    model = runs.build_model(cfg, trained)
    return Evidence(model, model.backbone, (), {}, torch.zeros(0).numpy(), trial=Trial(cfg))


def test_little_memory_takes_more_passes_and_gives_the_same(cfg, trained, written):
    seen = []
    given = evidence(cfg, trained)
    object.__setattr__(given, 'trial', Trial(cfg, on_batch=lambda *done: seen.append(done)))
    criterion = Bridged(memory=1, rounds=0)
    assert criterion(given) == written.scores
    assert criterion.resampled is None
    passes = sum(depth - 1 for depth in DEPTHS)
    assert seen[0][1] % passes == 0
    assert criterion.metric == 'mIoU'
    nothing_cut = criterion.together(given, (2, 2, 3, 1))
    assert nothing_cut == pytest.approx(written.scores[3, 0])
    assert criterion.together(given, (1, 1, 1, 1)) != written.scores[3, 0]
    depths = [(1, 1, 1, 1), DEPTHS, (2, 2, 3, 1), (2, 1, 2, 2)]
    assert criterion.at_depths(given, depths) == pytest.approx([criterion.together(given, kept) for kept in depths])


def test_groups_hold_as_much_as_fits(cfg, trained):
    backbone = runs.build_model(cfg, trained).backbone
    fits = {((3, n), (3, 1)): BridgeFit(backbone.bridge_to((3, 1))) for n in range(5)}
    size = next(iter(fits.values())).bytes
    assert [len(group) for group in in_groups(fits, 2 * size)] == [2, 2, 1]
    assert [len(group) for group in in_groups(fits, 1)] == [1] * 5


def test_what_it_cannot_do_is_refused(cfg, trained):
    for name, least in (('images', 1), ('tokens', 1), ('memory', 1), ('rounds', 0)):
        with pytest.raises(ValueError, match=f'Bridged.{name} is {least - 1}; it must be a whole number of at least'):
            build_criterion({'type': 'bridged', name: least - 1})
    with pytest.raises(ValueError, match=r'Bridged\.rounds is 1; it must be 0, or at least 2'):
        Bridged(rounds=1)
    given = evidence(cfg, trained)
    with pytest.raises(ValueError, match='needs images and an evaluator'):
        Bridged()(Evidence(given.model, given.backbone, (), {}, given.labels))
    with pytest.raises(ValueError, match='has no train_evaluator'):
        runs.score(cfg, trained, split='train')


def test_a_cut_model_is_not_tried_and_that_is_said(cfg, trained, tmp_path, said):
    cut = with_bridge(cfg)
    cut.model.backbone.kept_depths, cut.work_dir = (2, 2, 1, 2), str(tmp_path)
    runs.test(cut, trained)
    assert not (tmp_path / 'pruning_index.json').exists()
    with pytest.raises(ValueError, match='score the full-depth model'):
        runs.score(cut, trained)


def test_bridges_of_a_rank_are_tried_as_the_model_will_have_them(cfg, trained, written, tmp_path):
    cut = with_bridge(cfg, 2)
    cut.model.backbone.kept_depths, cut.custom_hooks = (2, 2, 1, 2), []
    runs.bridge(cut, trained, tmp_path / 'bridged.pth')
    found = Bridged(rank=2)(evidence(cfg, trained))
    assert found[2, 0] == pytest.approx(points(cut, str(tmp_path / 'bridged.pth')), abs=0.011)
    assert found != written.scores
    with pytest.raises(ValueError, match='bridge must be True, False or a rank of at least 2, got 1'):
        build_criterion({'type': 'Bridged', 'rank': 1})
