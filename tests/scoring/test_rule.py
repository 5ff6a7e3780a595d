"""The rule on hand-made tables, each worked out on paper from the published procedure."""

from __future__ import annotations

import itertools
import random
import warnings

import numpy as np
import pytest

from mmsls.scoring import choose_depths
from mmsls.scoring.curve import Curve, stage_depths
from mmsls.scoring.overriding import overridden
from mmsls.scoring.rule import Rule


def table(*stages: list[float]) -> dict[tuple[int, int], float]:
    return {(stage, block): score for stage, scores in enumerate(stages) for block, score in enumerate(scores)}


VIT = table([-0.1, 0.0, 0.02, 0.1, 0.3, 0.5])
SWIN = table([0.0, 0.1], [0.1, 0.2], [0.1, 0.3, 0.3, 0.4, 0.4, 0.5], [0.6, 0.8])


@pytest.mark.parametrize(
    ('alpha', 'kept'),
    [(0.1, 4), (0.3, 5), (0.2, 4), (0.6, 5), (0.61, 6), (1.0, 6), (0.01, 3)],
)
def test_walk_keeps_the_block_above_the_first_below_threshold(alpha, kept):
    assert choose_depths(VIT, alpha=alpha) == (kept,)


def test_published_steps_written_out():
    """The loop of the published procedure: walk down, note every block passed, stop below the threshold."""
    rng = random.Random(0)
    for _ in range(300):
        scores = [rng.uniform(-0.3, 0.9) for _ in range(rng.randint(1, 24))]
        alpha = rng.uniform(0.01, 1)
        target = len(scores)
        for number in range(len(scores), 0, -1):
            if scores[number - 1] < alpha * scores[-1]:
                break
            target = number
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            assert choose_depths(table(scores), alpha=alpha) == ((target,) if scores[-1] > 0 else (len(scores),))


def test_equal_to_the_threshold_is_walked_past():
    assert choose_depths(table([0.1, 0.25, 0.5]), alpha=0.5) == (2,)


def test_blocks_that_rise_again_further_down_do_not_count():
    assert choose_depths(table([0.5, 0.5, 0.05, 0.3, 0.5])) == (4,)


def test_none_below_keeps_block_one_alone():
    assert choose_depths(table([0.2, 0.3, 0.4, 0.5])) == (1,)
    assert choose_depths(table([0.2, 0.3], [0.4, 0.5])) == (1, 0)


def test_one_block_is_kept():
    decision = Rule().decide(table([0.4]))
    assert decision.kept_depths == (1,)
    assert 'only one' in decision.note


@pytest.mark.parametrize('top', [0.0, -0.2])
def test_unseparated_top_prunes_nothing_and_warns_with_causes(top):
    with pytest.warns(UserWarning, match=r'block \(0, 2\) scores -?0\.\d+: not above 0.*likely causes'):
        assert choose_depths(table([0.3, 0.4, top])) == (3,)
    decision = Rule().decide(table([0.3, 0.4, top]))
    assert decision.thresholds == (None,)
    assert decision.borderline == ()


def test_separated_top_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        choose_depths(VIT)


def test_model_scope_crosses_stages_and_may_empty_the_upper_ones():
    assert choose_depths(SWIN, alpha=0.3) == (2, 2, 2, 0)  # threshold 0.24, stops at (2, 0)
    assert choose_depths(SWIN, alpha=0.7) == (2, 2, 6, 1)  # threshold 0.56, stops at (2, 5)
    assert choose_depths(SWIN, alpha=0.9) == (2, 2, 6, 2)


def test_stage_scope_walks_every_stage_on_its_own():
    # thresholds 0.03, 0.06, 0.15, 0.24: stops at (0, 0), nowhere, at (2, 0), nowhere
    decision = Rule(alpha=0.3, scope='stage').decide(SWIN)
    assert decision.kept_depths == (2, 1, 2, 1)
    assert decision.thresholds == pytest.approx((0.03, 0.06, 0.15, 0.24))


def test_stage_scope_keeps_only_the_unseparated_stage_whole():
    scores = table([0.1, 0.2], [0.3, 0.2, -0.01], [0.3, 0.4])
    decision = Rule(scope='stage').decide(scores)
    assert decision.kept_depths == (1, 3, 1)
    assert decision.thresholds[1] is None
    assert decision.note.startswith('block (1, 2) scores -0.0100')


@pytest.mark.parametrize('scope', ['model', 'stage'])
def test_min_depth_holds_in_every_stage_and_is_capped_by_its_depth(scope):
    kept = choose_depths(SWIN, scope=scope, min_depth=4)
    assert kept == (2, 2, 4, 2)
    assert choose_depths(SWIN, min_depth=1) == (2, 2, 2, 1)


def test_peak_walks_from_the_best_block_and_removes_what_lies_above():
    falls = table([0.0, 0.1, 0.6, 0.5, 0.05, 0.2])
    assert choose_depths(falls) == (6,)  # published: threshold 0.06, block 5 is below at once
    assert choose_depths(falls, reference='peak') == (3,)  # threshold 0.18, stops at block 2
    assert Rule(reference='peak').decide(falls).thresholds == pytest.approx((0.18,))


def test_peak_equals_top_where_the_top_is_best():
    assert Rule(reference='peak').decide(SWIN) == Rule().decide(SWIN)
    assert Rule(reference='peak', scope='stage').decide(SWIN) == Rule(scope='stage').decide(SWIN)


def test_peak_takes_the_topmost_of_equals_and_needs_a_positive_one():
    assert choose_depths(table([0.5, 0.0, 0.5]), reference='peak') == (3,)
    assert Rule(reference='peak').decide(table([-0.2, -0.1, -0.3])).kept_depths == (3,)
    assert choose_depths(table([0.1, 0.5, -0.3]), reference='peak') == (2,)


def test_borderline_marks_blocks_within_five_hundredths():
    decision = Rule(alpha=0.3).decide(table([0.1, 0.26, 0.24, 0.36, 1.0]))
    assert decision.borderline == ((0, 1),)
    assert Rule(alpha=0.3).decide(table([0.1, 0.26, 0.24, 0.34, 1.0])).borderline == ((0, 1), (0, 3))


def test_note_says_why_nothing_was_pruned():
    assert Rule().decide(VIT).note is None
    assert 'block (0, 4) scores 0.3000, below the threshold 0.4500' in Rule(alpha=0.9).decide(VIT).note
    assert 'min_depth=6' in Rule(min_depth=6).decide(VIT).note
    both = Rule(scope='stage', min_depth=2).decide(table([0.0, 0.1], [0.3, 0.4])).note
    assert 'block (0, 0) scores' in both
    assert 'min_depth=2' in both


@pytest.mark.parametrize('reference', ['top', 'peak'])
@pytest.mark.parametrize('scope', ['model', 'stage'])
def test_larger_alpha_or_min_depth_never_keeps_fewer(scope, reference):
    rng = random.Random(1)
    for _ in range(100):
        scores = table(*[[rng.uniform(-0.3, 0.9) for _ in range(depth)] for depth in (2, 2, 6, 2)])
        by_alpha = [
            Rule(alpha=a / 20, scope=scope, reference=reference).decide(scores).kept_depths for a in range(1, 21)
        ]
        by_depth = [Rule(min_depth=d, scope=scope, reference=reference).decide(scores).kept_depths for d in range(8)]
        for series in (by_alpha, by_depth):
            assert all(x <= y for low, high in itertools.pairwise(series) for x, y in zip(low, high, strict=True))


SIGN = [47.7, 66.9, 73.1, 73.6, 74.0, 75.6, 79.1, 82.0, 79.7, 81.5, 80.9, 77.4]


def points(*stages: list[float]) -> Curve:
    return Curve(table(*stages), 'points')


@pytest.mark.parametrize(('max_drop', 'kept'), [(0, 8), (1, 8), (2.9, 7), (3, 7), (8, 5), (9, 3), (100, 1)])
def test_max_drop_keeps_the_smallest_depth_within_it_of_the_best(max_drop, kept):
    decision = Rule(max_drop=max_drop).decide(points(SIGN))
    assert decision.kept_depths == (kept,)
    assert decision.thresholds == pytest.approx((82.0 - max_drop,))


def test_a_depth_exactly_max_drop_below_is_kept_whatever_rounding_says():
    for best, drop, value in ((64.2, 0.1, 64.1), (64.4, 1.0, 63.4), (64.4, 1.5, 62.9)):
        assert best - drop > value
        assert choose_depths(points([0.0, value, best]), max_drop=drop) == (2,)


def test_max_drop_looks_at_the_curve_alone_not_at_where_it_dips():
    assert choose_depths(points([80.0, 40.0, 80.5]), max_drop=1) == (1,)


def test_max_drop_in_both_scopes():
    swin = points([10.0, 40.0], [50.0, 49.0], [60.0, 70.0, 69.5, 65.0])
    assert choose_depths(swin, max_drop=1) == (2, 2, 2)
    assert choose_depths(swin, max_drop=20.5) == (2, 1, 0)
    assert choose_depths(swin, max_drop=1, scope='stage') == (2, 1, 2)
    assert choose_depths(swin, max_drop=20.5, min_depth=1) == (2, 1, 1)
    assert Rule(max_drop=1, scope='stage').decide(swin).thresholds == pytest.approx((39, 49, 69))


def test_max_drop_reads_neither_alpha_nor_reference():
    for alpha, reference in itertools.product((0.1, 1.0), ('top', 'peak')):
        rule = Rule(max_drop=3, alpha=alpha, reference=reference)
        assert rule.decide(points(SIGN)) == Rule(max_drop=3).decide(points(SIGN))


def test_no_max_drop_is_the_published_rule_in_any_unit():
    rng = random.Random(2)
    for _ in range(50):
        scores = table(*[[rng.uniform(-0.3, 0.9) for _ in range(depth)] for depth in (2, 2, 6, 2)])
        assert Rule(max_drop=None).decide(scores) == Rule().decide(scores)
    assert Rule().decide(points(SIGN)).kept_depths == (1,)


def test_larger_max_drop_never_keeps_more():
    rng = random.Random(3)
    for scope in ('model', 'stage'):
        for _ in range(50):
            curve = points(*[[rng.uniform(0, 100) for _ in range(depth)] for depth in (2, 2, 6, 2)])
            kept = [Rule(max_drop=d, scope=scope).decide(curve).kept_depths for d in (0, 1, 5, 20, 60, 100)]
            assert all(x >= y for less, more in itertools.pairwise(kept) for x, y in zip(less, more, strict=True))


def test_borderline_under_max_drop_is_a_quarter_of_it():
    decision = Rule(max_drop=2).decide(points([70.0, 77.4, 77.6, 78.4, 78.6, 80.0]))
    assert decision.borderline == ((0, 2), (0, 3))
    assert (Rule(max_drop=2).margin, Rule().margin) == (0.5, 0.05)
    assert Rule(max_drop=0).decide(points([70.0, 80.0, 80.0])).borderline == ()


def test_note_under_max_drop_says_why_nothing_was_pruned():
    assert Rule(max_drop=1).decide(points(SIGN)).note is None
    note = Rule(max_drop=1).decide(points([10.0, 20.0, 30.0])).note
    assert note.startswith('nothing pruned: block (0, 1) scores 20.0000, below the threshold 29.0000')
    assert 'only one' in Rule(max_drop=1).decide(points([10.0])).note
    assert Rule(max_drop=1).decide(points([0.0, 0.0])).kept_depths == (1,)


@pytest.mark.parametrize('max_drop', [-0.1, float('nan'), float('inf'), True, '1'])
def test_max_drop_out_of_range_is_named(max_drop):
    with pytest.raises(ValueError, match='max_drop is'):
        Rule(max_drop=max_drop)


@pytest.mark.parametrize('unit', ['silhouette', 'evidence'])
def test_max_drop_on_a_curve_without_points_is_refused_with_the_criteria_that_have_some(unit):
    with pytest.raises(ValueError, match=f"max_drop is 1 points, but the curve counts {unit}.*'probe', 'ncm' or 'knn'"):
        choose_depths(Curve(VIT, unit), max_drop=1)


def test_naming_alpha_or_reference_ends_a_max_drop():
    rule = Rule(max_drop=1, alpha=0.5)
    assert rule.but(alpha=0.6) == Rule(alpha=0.6)
    assert rule.but(reference='peak') == Rule(alpha=0.5, reference='peak')
    assert rule.but(scope='stage', min_depth=1) == Rule(max_drop=1, alpha=0.5, scope='stage', min_depth=1)
    assert Rule(alpha=0.5).but(max_drop=2) == Rule(max_drop=2, alpha=0.5)


@pytest.mark.parametrize('option', [{'alpha': 0.5}, {'reference': 'peak'}])
def test_max_drop_is_not_given_together_with_what_it_does_not_read(option):
    with pytest.raises(ValueError, match=f'max_drop is 2 and {next(iter(option))} is .*give one or the other'):
        Rule().but(max_drop=2, **option)
    assert overridden({'max_drop': 2, **option}, {'seed': 1}) == {'max_drop': 2, **option, 'seed': 1}


def test_order_of_the_mapping_does_not_matter():
    items = list(SWIN.items())
    random.Random(0).shuffle(items)
    assert Rule(scope='stage').decide(dict(items)) == Rule(scope='stage').decide(SWIN)
    assert list(Curve(dict(items)).values) == sorted(SWIN)


def test_numpy_keys_and_values_are_taken():
    scores = {(np.int64(0), np.int64(block)): np.float32(score) for (_, block), score in VIT.items()}
    decision = Rule(alpha=np.float64(0.3)).decide(scores)
    assert decision.kept_depths == (5,)
    assert all(type(number) is int for block in decision.borderline for number in block)


@pytest.mark.parametrize('alpha', [0, -0.1, 1.01, float('nan'), float('inf'), True, '0.3', None])
def test_alpha_out_of_range_is_named(alpha):
    with pytest.raises(ValueError, match='alpha is'):
        choose_depths(VIT, alpha=alpha)


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('scope', 'block'),
        ('scope', None),
        ('reference', 'best'),
        ('min_depth', -1),
        ('min_depth', 1.0),
        ('min_depth', True),
    ],
)
def test_wrong_options_are_named(option, value):
    with pytest.raises(ValueError, match=f'{option} is {value!r}'):
        choose_depths(VIT, **{option: value})


@pytest.mark.parametrize('score', [float('nan'), float('inf'), 1.2, -1.2, 'high', None, True])
def test_wrong_score_names_its_block(score):
    with pytest.raises(ValueError, match=r'score of block \(0, 1\) is'):
        choose_depths({(0, 0): 0.1, (0, 1): score, (0, 2): 0.3})


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ([], 'empty'),
        ([(0, 1)], r'no block \(0, 0\)'),
        ([(0, 0), (0, 2)], r'no block \(0, 1\)'),
        ([(0, 0), (2, 0)], r'no block \(1, 0\)'),
        ([(1, 0)], r'no block \(0, 0\)'),
        ([0, 1], 'key 0'),
        ([(0, 0), (0, -1)], r'key \(0, -1\)'),
        ([(0, 0.0)], r'key \(0, 0.0\)'),
    ],
)
def test_keys_must_form_whole_stages(keys, message):
    with pytest.raises(ValueError, match=message):
        choose_depths(dict.fromkeys(keys, 0.5))


def test_stage_depths():
    assert stage_depths(SWIN) == (2, 2, 6, 2)


# Single blocks.

IMPORTANT = {(0, 0): 9.0, (0, 1): 1.0, (0, 2): 5.0, (1, 0): 2.0, (1, 1): 3.0, (1, 2): 8.0}


@pytest.mark.parametrize(
    ('options', 'kept'),
    [
        ({'keep': 0.5}, ((0, 0), (0, 2), (1, 2))),
        ({'keep': 0.51}, ((0, 0), (0, 2), (1, 1), (1, 2))),
        ({'keep': 0.01}, ((0, 0),)),
        ({'keep': 0.01, 'min_depth': 1}, ((0, 0), (1, 2))),
        ({'keep': 1 / 3, 'scope': 'stage'}, ((0, 0), (1, 2))),
        ({'keep': 2 / 3, 'scope': 'stage'}, ((0, 0), (0, 2), (1, 1), (1, 2))),
        ({'keep': 1}, tuple(IMPORTANT)),
    ],
)
def test_keep_takes_the_most_important_blocks(options, kept):
    decision = Rule(**options).decide(Curve(IMPORTANT, 'loss'))
    assert decision.kept_blocks == kept
    assert decision.kept_depths == tuple(sum(stage == of for of, _ in kept) for stage in (0, 1))
    assert (decision.note is None) == (len(kept) < 6)


def test_blocks_that_are_the_lowest_ones_are_told_by_their_number_alone():
    falling = Rule(keep=0.5).decide({(0, block): -0.1 * block for block in range(4)})
    assert (falling.kept_depths, falling.subset, falling.kept_blocks) == ((2,), (), ((0, 0), (0, 1)))
    assert Rule().decide({(0, 0): 0.1, (0, 1): 0.2, (0, 2): 0.9}).kept_blocks == ((0, 0), (0, 1), (0, 2))


def test_thresholds_of_keep_are_the_least_important_kept_blocks():
    curve = Curve(IMPORTANT, 'loss')
    assert Rule(keep=0.5).decide(curve).thresholds == (5.0,)
    assert Rule(keep=1 / 3, scope='stage').decide(curve).thresholds == (9.0, 8.0)


def test_of_equals_the_lower_block_stays():
    assert Rule(keep=0.5).decide(dict.fromkeys([(0, 0), (0, 1), (0, 2), (0, 3)], 0.5)).kept_depths == (2,)


def test_a_larger_keep_keeps_what_a_smaller_one_does():
    rng = random.Random(0)
    curve = Curve({(stage, block): rng.random() for stage in range(3) for block in range(5)}, 'loss')
    for scope in ('model', 'stage'):
        chosen = [set(Rule(keep=keep / 20, scope=scope).decide(curve).kept_blocks) for keep in range(1, 21)]
        assert all(lower <= upper for lower, upper in itertools.pairwise(chosen))


@pytest.mark.parametrize('keep', [0, -0.5, 1.01, 3, float('nan'), True, '0.5'])
def test_keep_out_of_range_is_named(keep):
    with pytest.raises(ValueError, match='keep is'):
        Rule(keep=keep)


def test_ways_to_read_a_curve_exclude_each_other():
    with pytest.raises(ValueError, match=r'keep is 0.5 and max_drop is 1'):
        Rule(keep=0.5, max_drop=1)
    with pytest.raises(ValueError, match=r'keep is 0.5 and alpha is 0.3; keep reads neither alpha, reference nor'):
        overridden({}, {'keep': 0.5, 'alpha': 0.3})
    assert overridden({'max_drop': 1, 'alpha': 0.5}, {'keep': 0.5}) == {'alpha': 0.5, 'keep': 0.5}
    assert overridden({'keep': 0.5}, {'max_drop': 1}) == {'max_drop': 1}
    assert Rule(keep=0.5).but(scope='stage', keep=0.25) == Rule(keep=0.25, scope='stage')
    for rule, options in ((Rule(keep=0.5), {'alpha': 0.4}), (Rule(), {'keep': 0.5})):
        with pytest.raises(ValueError, match='keep reads curves that rate single blocks'):
            rule.but(**options)
    with pytest.raises(ValueError, match=r'keep is 0.5, and criterion choose_depths rates depths'):
        choose_depths(VIT, keep=0.5)
