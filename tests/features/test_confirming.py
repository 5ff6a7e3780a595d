"""A criterion that tries the model: stages that are cut each on its own are tried together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmsls.criteria.base import CRITERIA
from mmsls.features.scorer import BlockScorer
from mmsls.scoring.rule import Rule

CURVE = {(0, 0): 58.0, (0, 1): 60.0, (1, 0): 59.0, (1, 1): 60.0, (2, 0): 40.0, (2, 1): 59.5, (2, 2): 60.0, (3, 0): 60.0}
DEPTHS = (2, 2, 3, 2)


@pytest.fixture
def preset():
    """A criterion whose curve is known, and that loses the sum of what the stages lose, and one point more."""

    @CRITERIA.register_module(name='Preset', force=True)
    class Preset:
        kind, unit, needs, metric = 'depth', 'points', 'trial', 'mIoU'

        def __call__(self, evidence):
            assert evidence.trial == 'trial'
            assert not evidence.model.training
            return {**CURVE, (3, 1): 60.0}

        def together(self, _, kept):
            lost = sum(60.0 - CURVE.get((stage, depth - 1), 60.0) for stage, depth in enumerate(kept))
            return 59.0 - lost

    yield
    CRITERIA.module_dict.pop('Preset')


@pytest.fixture
def scorer(preset, segmentor_cfg, tmp_path, mmseg_vit_host):
    from mmseg.utils import register_all_modules

    from mmsls import runs

    register_all_modules(init_default_scope=False)
    model = runs.build_model(segmentor_cfg(tmp_path)).train()

    def run(**rule):
        rule = {'scope': 'stage', 'min_depth': 1, **rule}
        scorer = BlockScorer(model, 'RegionSampler', rule=Rule(**rule), criterion='preset')
        scorer.start(SimpleNamespace(dataset=[1, 2, 3]))
        return scorer.finish('val', None, 'trial')

    return run


def test_what_loses_too_much_together_keeps_more(scorer):
    scores, index = scorer(max_drop=2.0)
    assert scores == {**CURVE, (3, 1): 60.0}
    # Alone each stage may lose 2: (1, 1, 2, 1), which together loses 1 + 2 + 1 + 0.5; then stage 0 stays, then stage 1.
    assert index.kept_depths == (2, 2, 2, 1)
    assert index.rule.max_drop == 0.5
    assert index.decide().kept_depths == index.kept_depths
    about = {key: index.provenance[key] for key in ('metric', 'whole', 'together', 'asked_max_drop', 'images')}
    assert about == {'metric': 'mIoU', 'whole': 60.0, 'together': 58.5, 'asked_max_drop': 2.0, 'images': 3}


def test_what_holds_together_stays(scorer):
    _, index = scorer(max_drop=5.0)
    assert index.kept_depths == (1, 1, 2, 1)
    assert index.rule.max_drop == 5.0
    assert 'asked_max_drop' not in index.provenance


def test_it_ends_where_nothing_is_lost_any_more(scorer):
    _, index = scorer(max_drop=0.6)
    assert index.kept_depths == (2, 2, 3, 1)
    assert index.provenance['together' if 'together' in index.provenance else 'whole'] >= 58.0


def test_a_walk_over_all_stages_has_no_meaning_here(scorer):
    with pytest.raises(ValueError, match="scope is 'model', and Preset rates every stage on its own"):
        scorer(scope='model')
