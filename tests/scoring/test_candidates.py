"""Everything that a rule can keep of a curve, against a search over the settings themselves."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from mmsls.scoring.candidates import candidate, candidates, roundest
from mmsls.scoring.curve import Curve
from mmsls.scoring.rule import Rule


def curve_of(depths: tuple[int, ...], seed: int, unit: str) -> Curve:
    rng = random.Random(seed)
    low, high, decimals = (0, 100, 0) if unit == 'points' else (-0.3, 0.9, 1)
    return Curve(
        {(s, b): round(rng.uniform(low, high), decimals) for s, n in enumerate(depths) for b in range(n)}, unit
    )


KINDS = [
    ('max_drop', 'points', [*np.linspace(0, 100, 201)], {}),
    ('alpha', 'silhouette', [*np.linspace(0.005, 1, 200)], {'reference': 'top'}),
    ('alpha', 'silhouette', [*np.linspace(0.005, 1, 200)], {'reference': 'peak'}),
    ('keep', 'importance', [*np.linspace(0.01, 1, 100)], {}),
]


@pytest.mark.parametrize(('name', 'unit', 'values', 'more'), KINDS)
@pytest.mark.parametrize('scope', ['model', 'stage'])
@pytest.mark.parametrize('min_depth', [0, 2])
def test_all_that_a_fine_grid_of_settings_keeps_is_found(name, unit, values, more, scope, min_depth):
    for seed, depths in enumerate([(6,), (2, 2, 3, 2), (2, 2, 6, 2), (1, 4)]):
        curve = curve_of(depths, seed, unit)
        rule = Rule(**{name: values[-1]}, scope=scope, min_depth=min_depth, **more)
        found = candidates(curve, rule)
        decisions = [rule.but(**{name: value}).decide(curve) for value in values]
        grid = {(decision.kept_depths, decision.subset) for decision in decisions}
        assert grid <= {(one.kept_depths, one.subset) for one in found}
        for one in found:
            if one.rule is not None:
                decision = one.rule.decide(curve)
                assert (decision.kept_depths, decision.subset) == (one.kept_depths, one.subset)
                assert getattr(one.rule, name) is not None
            else:
                assert one.kept_depths == depths


@pytest.mark.parametrize(('name', 'unit', 'values', 'more'), KINDS)
@pytest.mark.parametrize('scope', ['model', 'stage'])
def test_they_are_nested_and_no_more_than_blocks(name, unit, values, more, scope):
    for seed in range(20):
        curve = curve_of((2, 2, 6, 2), seed, unit)
        found = candidates(curve, Rule(**{name: values[-1]}, scope=scope, **more))
        assert found[0].kept_depths == (2, 2, 6, 2)
        assert len(found) <= 13
        for above, below in pairwise(found):
            assert set(below.kept_blocks) < set(above.kept_blocks)


def test_settings_are_round_numbers():
    curve = Curve.from_lists([[61.37, 70.25, 71.01, 71.48]], 'points')
    assert [one.rule.max_drop for one in candidates(curve, Rule(max_drop=0.3))] == [0.0, 1.0, 2.0, 11.0]
    scores = Curve.from_lists([[0.013, 0.17, 0.41, 0.57]])
    assert [one.rule and one.rule.alpha for one in candidates(scores, Rule())] == [1.0, 0.7, 0.2, 0.02]
    assert roundest(1.0, 1.0000001) == 1.0


def test_the_whole_model_is_there_even_where_no_setting_keeps_it():
    found = candidates(Curve.from_lists([[10.0, 50.0, 40.0]], 'points'), Rule(max_drop=1))
    assert [(one.kept_depths, one.drop) for one in found] == [((3,), 10.0), ((2,), 0.0), ((1,), 40.0)]
    assert found[0].rule is None


def test_a_reference_at_zero_leaves_the_whole_model():
    assert [one.kept_depths for one in candidates(Curve.from_lists([[0.3, 0.2, 0.0]]), Rule())] == [(3,)]


def test_the_stage_that_loses_most_counts():
    curve = Curve.from_lists([[60.0, 70.0], [50.0, 69.0, 70.0]], 'points')
    like = Rule(max_drop=1, scope='stage')
    assert (candidate(curve, (1, 2), like=like).value, candidate(curve, (1, 2), like=like).drop) == (60.0, 10.0)
    assert candidate(curve, (2, 1), like=like).drop == 20.0
    assert candidate(curve, (2, 0), like=like).drop is None


def test_what_lies_above_a_gap_was_not_scored():
    curve = Curve.from_lists([[0.1, 0.2], [0.3, 0.4]])
    assert candidate(curve, (1, 2), like=Rule()).value == 0.1


def test_single_blocks_have_a_lowest_value_and_no_drop():
    curve = Curve.from_lists([[5.0, 1.0, 7.0, 2.0]], 'importance')
    found = candidates(curve, Rule(keep=0.5))
    assert [one.kept_blocks for one in found[1:]] == [((0, 0), (0, 2), (0, 3)), ((0, 0), (0, 2)), ((0, 2),)]
    assert [(one.value, one.drop) for one in found] == [(1.0, None), (2.0, None), (5.0, None), (7.0, None)]
    assert [one.rule.keep for one in found] == [1.0, 0.7, 0.5, 0.2]


def test_a_curve_without_points_has_no_drops_in_points():
    with pytest.raises(ValueError, match='max_drop is 1 points'):
        candidates(Curve.from_lists([[0.1, 0.2]]), Rule(max_drop=1))
