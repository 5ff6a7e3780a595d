"""What made-up curves are said to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsls.pruning_index.choice import Choice
from mmsls.report import advice_texts
from mmsls.report.advice import advise
from mmsls.report.how_to_texts import HOW_TO
from mmsls.scoring.decision import Decision

RISING = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
CURVES = [
    ('step', {'values': (-0.1, 0.0, 0.1, 0.4, 0.5, 0.5)}),
    ('flat_high', {'values': (0.50, 0.52, 0.55, 0.5, 0.56, 0.6)}),
    ('flat_zero', {'values': (-0.1, -0.05, 0.0, 0.01, 0.02, 0.03)}),
    ('flat_zero', {'values': (-0.3, -0.2, -0.3, -0.1, -0.2, -0.1)}),
    ('slope', {'values': RISING, 'alpha': 0.9}),
    ('fallen_top', {'values': (0.1, 0.3, 0.6, 0.6, 0.1, 0.2), 'alpha': 1.0}),
    # In points: the whole curve within max_drop, a step, a rise that max_drop does not allow to cut, guessing.
    ('flat_high', {'values': (90.1, 90.3, 90.5, 90.6, 90.5, 90.9), 'unit': 'points', 'max_drop': 1}),
    ('step', {'values': (40, 50, 80, 80.5, 81, 80.9), 'unit': 'points', 'criterion': 'Bridged', 'max_drop': 1}),
    ('slope', {'values': (10, 20, 30, 40, 50, 60), 'unit': 'points', 'max_drop': 1}),
    ('flat_zero', {'values': (33, 34, 33, 35, 36, 34), 'unit': 'points', 'criterion': 'Probe', 'max_drop': 1}),
    # A peak below the top is no fall where the rule looks at the best block.
    ('step', {'values': (0.1, 0.3, 0.6, 0.6, 0.1, 0.2), 'alpha': 1.0, 'reference': 'peak'}),
    ('whole', {'values': (0.4,)}),
    ('share', {'values': RISING, 'unit': 'loss', 'criterion': 'Taylor', 'keep': 0.5}),
]


@pytest.mark.parametrize(('case', 'made'), CURVES)
def test_every_shape_has_its_case(index_of, case, made):
    found = advise(index_of(**made))
    assert [advice.case for advice in found] == [case]
    assert '{' not in found[0].text
    assert found[0].tries


def test_a_curve_below_zero_in_a_unit_of_its_own_is_no_flat_one(index_of):
    found = advise(index_of((-900, -500, -300, -100, -90, -80), unit='score', criterion='LogME'))
    assert found[0].case == 'slope'


def test_stages_are_named_where_the_case_is_theirs(index_of):
    values = (0.1, 0.4, 0.1, 0.5, 0.5, 0.6, 0.55, 0.5, 0.55, 0.6, 0.1, 0.2)
    found = advise(index_of(values, depths=(2, 2, 6, 2), scope='stage', min_depth=1))
    assert found[0].case == 'flat_high'
    assert 'Every block of stage 2 scores high (0.50 to 0.60)' in found[0].text
    small = advise(index_of((-0.5, 0.5, -0.5, 0.5, 0.5, 0.5, 0.5), depths=(2, 2, 3), scope='stage', min_depth=1))
    assert 'Every block of stage 2' in small[0].text  # two blocks have no shape
    alike = advise(index_of((0.0,) * 8, depths=(4, 4), scope='stage'))
    assert 'No block of the model' in alike[0].text


@pytest.mark.parametrize(
    ('about', 'told'),
    [
        ({'samples': 40, 'classes': 2}, '40 samples of 2 classes'),
        ({'samples': 300, 'classes': 80}, '300 samples of 80 classes'),
        ({'samples': None, 'images': 12}, '12 images'),
    ],
)
def test_too_few_samples_come_first(index_of, about, told):
    few, shape = advise(index_of(about=about))
    assert (few.case, shape.case) == ('few', 'step')
    assert told in few.text


@pytest.mark.parametrize('about', [{'samples': 'many'}, {'samples': float(10**6), 'classes': 0}, {'samples': True}])
def test_counts_that_are_none_are_not_read(index_of, about):
    assert [advice.case for advice in advise(index_of(about=about))] == ['step']


def test_one_class_and_an_untuned_base(index_of):
    assert advise(index_of(about={'classes': 1}))[0].case == 'one_class'
    flat = {'values': (0.0,) * 6, 'about': {'checkpoint': 'untuned'}}
    assert [advice.case for advice in advise(index_of(**flat))] == ['untuned']
    assert [advice.case for advice in advise(index_of(about={'checkpoint': 'untuned'}))] == ['step']


def test_what_was_chosen_by_hand_is_no_decision_of_the_curve(index_of):
    index = replace(index_of(), decision=Decision((5,), (), (), None), chosen=Choice('hand', None, None, 'a person'))
    (advice,) = advise(index)
    assert advice.case == 'by_hand'
    assert advice.text.startswith('5 of 6 blocks were chosen by hand')


def test_everything_to_try_has_a_how_to():
    texts = [*advice_texts.TEXTS.values(), *advice_texts.TEXTS_IN_POINTS.values()]
    loose = [value for value in vars(advice_texts).values() if isinstance(value, tuple) and len(value) == 2]
    named = {key for _, tries in texts for _, key in tries} | {key for _, key in loose}
    assert len(named) > 10
    assert named <= set(HOW_TO)
