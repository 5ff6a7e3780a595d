"""Bootstrapped decisions: on hits whose answer is known, and against a plain loop."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmsls.scoring import Curve, Rule
from mmsls.scoring.resampling import bootstraps
from mmsls.scoring.stability import STABLE, stability_line, stability_of


def bootstrap(hits, rule, rounds=500, seed=0):
    return stability_of(bootstraps(hits, rounds, seed), rule)


def judged(shares, samples=400, seed=0):
    """Hits of one stage, a given share of them per block; the samples are equally hard for every block."""
    hard = np.random.default_rng(seed).permutation(np.arange(samples) / samples)
    return {(0, block): hard < share for block, share in enumerate(shares)}


def test_a_clear_cut_is_stable():
    found = bootstrap(judged([0.2, 0.5, 0.9, 0.91]), Rule(max_drop=10))
    assert (found.decided, found.stable, found.between) == ((3,), True, ((3,),))
    assert found.shares == {(3,): 1.0}


def test_a_close_call_hangs_between_two_depths():
    found = bootstrap(judged([0.2, 0.79, 0.88, 0.9]), Rule(max_drop=10))
    assert found.decided == (3,)
    assert not found.stable
    assert found.between == ((2,), (3,))
    assert sum(found.shares.values()) == pytest.approx(1)
    assert max(found.shares.values()) < STABLE


def test_shares_are_those_of_a_plain_loop():
    hits, rule = judged([0.3, 0.6, 0.64, 0.7], samples=60), Rule(max_drop=5)
    rng = np.random.default_rng(7)
    kept = []
    for counts in rng.multinomial(60, np.full(60, 1 / 60), size=200):
        rows = np.repeat(np.arange(60), counts)
        curve = {block: 100 * float(found[rows].mean()) for block, found in hits.items()}
        kept.append(rule.decide(Curve(curve, 'points')).kept_depths)
    found = bootstrap(hits, rule, rounds=200, seed=7)
    assert found.shares == {depths: kept.count(depths) / 200 for depths in set(kept)}


def test_blocks_are_drawn_together():
    """Two blocks that miss the same samples never differ by more than they do, however few samples there are."""
    hits = judged([0.5, 0.5, 0.1], samples=20)
    assert bootstrap(hits, Rule(max_drop=0)).shares == {(1,): 1.0}


@pytest.mark.parametrize('rule', [Rule(max_drop=1), Rule(alpha=0.9, scope='stage', min_depth=1)])
def test_the_same_again_and_in_every_stage(rule):
    hits = {**judged([0.5, 0.6]), **{(1, block): found for (_, block), found in judged([0.7, 0.72, 0.6]).items()}}
    first = bootstrap(hits, rule)
    assert first == bootstrap(hits, rule)
    assert all(len(depths) == 2 for depths in first.shares)


def test_what_an_index_holds_is_short_plain_json():
    rng = np.random.default_rng(0)
    noise = {(stage, block): rng.random(50) < 0.5 for stage in range(4) for block in range(6)}
    found = bootstrap(noise, Rule(max_drop=1, scope='stage'))
    told = found.as_dict()
    assert len(found.shares) > len(told['shares']) == 8
    assert json.loads(json.dumps(told)) == told
    assert len(json.dumps(told)) < 400
    assert told['between'] == sorted(told['between'], key=sum)


def test_all_right_and_all_wrong_stay_within_points():
    assert bootstrap({(0, 0): np.ones(7), (0, 1): np.ones(7)}, Rule(max_drop=1)).shares == {(1,): 1.0}
    assert bootstrap({(0, 0): np.zeros(7), (0, 1): np.zeros(7)}, Rule(max_drop=1)).shares == {(1,): 1.0}


@pytest.mark.parametrize('sizes', [(), (0, 0), (3, 4)])
def test_blocks_that_judge_other_samples_are_refused(sizes):
    with pytest.raises(ValueError, match='every block must judge the same samples'):
        bootstrap({(0, block): np.ones(size) for block, size in enumerate(sizes)}, Rule(max_drop=1))


@pytest.mark.parametrize('recorded', [None, 3, {}, {'shares': 7}])
def test_no_line_where_nothing_is_recorded(recorded):
    assert stability_line(recorded) is None


def test_a_sure_decision_in_a_line():
    told = bootstrap(judged([0.2, 0.5, 0.9, 0.91]), Rule(max_drop=10)).as_dict()
    assert stability_line(told) == 'sure: of 500 bootstraps 100 % keep 3'
