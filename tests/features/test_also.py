"""What other criteria say of the samples of a run."""

from __future__ import annotations

import numpy as np
import pytest

from mmsls.criteria import CRITERIA, Evidence, FeatureCriterion, build_criterion
from mmsls.criteria.choosing import described
from mmsls.features.also import failures, other_curves
from mmsls.scoring.rule import Rule

VIT = {'backbone': {'type': 'PrunedVisionTransformer', 'embed_dims': 4, 'depths': (3,)}, 'adapter': None}


class Stumbles(FeatureCriterion):
    """Fails."""

    def score(self, features, labels, seed):
        raise ZeroDivisionError('no')


class Nothing(FeatureCriterion):
    """Says nothing."""

    def score(self, features, labels, seed):
        return float('nan')


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """Register them for these tests alone."""
    for criterion in (Stumbles, Nothing):
        monkeypatch.setitem(CRITERIA.module_dict, criterion.__name__, criterion)


@pytest.fixture
def evidence():
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    noise = rng.normal(size=(3, 60, 4)).astype(np.float32)
    features = {(0, block): noise[block] + 2 * block * np.eye(4, dtype=np.float32)[labels] for block in range(3)}
    return Evidence(None, None, (), features, labels, seed=0)


def curves(names, evidence, rule=None, **about):
    made = [(described(name), build_criterion(name)) for name in names]
    return other_curves(made, evidence, rule or Rule(), VIT, about)


def test_each_has_its_curve_its_rule_and_how_sure_it_is(evidence):
    ncm, spread, influence = curves(['ncm', 'hscore', 'BlockInfluence'], evidence, Rule(alpha=0.9), split='val')
    assert [one.index.told for one in (ncm, spread, influence)] == [
        *('max_drop 1 points, scope model', 'alpha 1.0, scope model', 'keep 0.75, scope model')
    ]
    assert spread.index.reference == 'peak'
    about = ncm.index.provenance
    assert about['split'] == 'val'
    assert about['chance'] == pytest.approx(100 / 3)
    assert len(about['drop_errors'][0]) == 3
    assert about['stability']['rounds'] == 500
    assert 'drop_errors' not in spread.index.provenance
    assert ncm.index.criterion == {'type': 'NCM'}


def test_one_that_fails_is_said_and_the_others_go_on(evidence, said):
    stumbles, nothing, ncm = curves(['Stumbles', 'Nothing', 'ncm'], evidence)
    assert failures([stumbles, nothing, ncm]) == {
        'Stumbles': 'ZeroDivisionError: no',
        'Nothing': 'criterion Nothing: the score of block (0, 0) is NaN; check that the training did not diverge',
    }
    assert ncm.index is not None
    assert said[0] == 'SLS: the criterion Stumbles has no curve here: ZeroDivisionError: no'
    assert len(said) == 2
