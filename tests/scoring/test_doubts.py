"""What a note says beside the decision: both numbers, and what to do."""

from __future__ import annotations

import pytest

from mmsls.scoring import Curve, Rule
from mmsls.scoring.doubts import decided

VALUES = [60.0, 78.0, 79.5, 80.0]
ERRORS = [[3.0, 1.6, 0.4, 0.0]]


def note(values=VALUES, *, rule, **about):
    """What is decided on one stage."""
    curve = Curve({(0, block): value for block, value in enumerate(values)}, 'points', about.get('chance'))
    return decided(rule, curve, about)


def test_a_drop_that_is_known_less_well_than_max_drop_is_told_with_both_numbers_and_a_mend():
    found = note(rule=Rule(max_drop=1), drop_errors=[[3.0, 1.6, 1.4, 0.0]], images=101)
    assert found.kept_depths == (3,)
    assert found.note == (
        'max_drop 1 is below the noise: block (0, 2) loses 0.50 points against the best one, with a standard error of '
        '1.40 (101 images); score more images, set max_drop to 1.4 or more, or keep the deeper kept_depths=(4,)'
    )


def test_the_deeper_depth_is_the_first_that_holds_even_so():
    found = note(rule=Rule(max_drop=2.5), drop_errors=[[3.0, 2.6, 0.4, 0.0]], samples=50)
    assert found.kept_depths == (2,)
    assert '(50 samples)' in found.note
    assert found.note.endswith('set max_drop to 2.6 or more, or keep the deeper kept_depths=(3,)')


@pytest.mark.parametrize(
    ('rule', 'errors'),
    [
        (Rule(max_drop=2), ERRORS),
        (Rule(alpha=0.3), [[9.0] * 4]),
        (Rule(max_drop=0), [[9.0, 9.0, 9.0, 0.0]]),
        (Rule(max_drop=1), None),
        (Rule(max_drop=1), [[3.0, 1.6]]),
        (Rule(max_drop=1), [[3.0, 1.6, 'much', 0.0]]),
        (Rule(max_drop=1), 'much'),
    ],
)
def test_no_doubt_where_the_noise_is_small_or_not_known(rule, errors):
    found = note(rule=rule, drop_errors=errors)
    assert 'noise' not in (found.note or '')


def test_the_stage_that_is_known_least_is_named_and_the_others_stay():
    curve = Curve({(0, 0): 79.5, (0, 1): 80.0, (1, 0): 79.6, (1, 1): 80.0}, 'points')
    rule = Rule(max_drop=1, scope='stage', min_depth=1)
    found = decided(rule, curve, {'drop_errors': [[1.1, 0.0], [1.7, 0.0]], 'asked_max_drop': 1.5})
    assert found.kept_depths == (1, 1)
    assert 'max_drop 1.5 is below the noise: block (1, 0)' in found.note
    assert found.note.endswith('kept_depths=(1, 2)')


def test_what_was_asked_counts_where_max_drop_was_lowered():
    assert note(rule=Rule(max_drop=1), drop_errors=[[3.0, 1.6, 1.4, 0.0]], asked_max_drop=1.5).note is None


@pytest.mark.parametrize(
    ('values', 'about', 'told'),
    [
        ([10.4, 10.9, 10.2], {'chance': 10.0, 'samples': 2000}, 'hardly more than chance (10.00)'),
        ([12.0, 14.0, 13.0], {'chance': 10.0, 'images': 100}, 'hardly more than chance (10.00)'),
        (
            [61.0, 62.0, 61.0],
            {'chance': 50.0, 'commonest': 61.5},
            'naming the commonest class every time gives (61.50)',
        ),
        ([0.1, 0.6, 0.3], {'chance': 0.0, 'images': 100}, 'hardly more than 0'),
    ],
)
def test_a_curve_at_chance_is_doubted_and_decided_as_before(values, about, told):
    found = note(values, rule=Rule(max_drop=1), **about)
    plain = note(values, rule=Rule(max_drop=1))
    assert (found.kept_depths, found.thresholds) == (plain.kept_depths, plain.thresholds)
    assert f'even the best block, (0, 1), has {values[1]:.2f} points, ' in found.note
    assert told in found.note
    assert 'likely causes: the model is not tuned' in found.note


@pytest.mark.parametrize(
    ('values', 'about'),
    [
        ([12.0, 14.0, 13.0], {'chance': 10.0, 'images': 2000}),
        ([12.0, 14.0, 13.0], {}),
        ([1.2, 1.4, 1.3], {'chance': 0.0, 'images': 5}),
        ([70.0, 71.0, 70.0], {'chance': 50.0, 'commonest': 'most', 'samples': 'many'}),
    ],
)
def test_a_curve_above_chance_is_not(values, about):
    assert note(values, rule=Rule(max_drop=3), **about).note is None


@pytest.mark.parametrize('rule', [Rule(max_drop=1), Rule(alpha=0.3), Rule(alpha=0.3, reference='peak')])
def test_where_no_block_is_above_chance_everything_stays(rule):
    found = note([9.0, 10.0, 9.5], rule=rule, chance=10.0)
    assert found.kept_depths == (3,)
    assert found.unseparated
    assert found.note == (
        'block (0, 1) scores 10.0000: not above chance (10), so no depth can be read off and the whole model is kept; '
        'likely causes: the model is not tuned to this task, its base or checkpoint was not loaded, or the labels are '
        'not those of the images'
    )


def test_silhouettes_have_no_such_doubts():
    curve = Curve({(0, 0): 0.1, (0, 1): 0.4})
    about = {'drop_errors': [[9.0, 9.0]], 'chance': 10.0, 'commonest': 50.0}
    assert decided(Rule(), curve, about) == Rule().decide(curve)
