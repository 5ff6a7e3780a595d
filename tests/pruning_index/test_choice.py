"""How something was chosen: every field is checked."""

from __future__ import annotations

import pytest

from mmsls.pruning_index.choice import Choice, check_fits

SOUND = {'by': 'max_params', 'asked': 4e6, 'reached': 3e6, 'rests_on': 'a count'}


def test_round_trip():
    assert Choice.of(SOUND).as_dict() == SOUND


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'by': 'luck'}, "chosen.by is 'luck'; it must be one of hand"),
        ({'by': ['hand']}, 'chosen.by is'),
        ({'asked': None}, 'chosen.asked is None; it must be a finite number'),
        ({'asked': True}, 'chosen.asked is True'),
        ({'reached': float('inf')}, 'chosen.reached is inf'),
        ({'by': 'hand'}, 'chosen.asked is 4000000.0; it must be null'),
        ({'rests_on': 3}, 'chosen.rests_on is 3'),
        ({'rests_on': 'x' * 1001}, 'at most 1000 characters'),
        ({'more': 1}, 'exactly the fields by, asked, reached, rests_on'),
    ],
)
def test_a_wrong_field_is_named(changes, told):
    with pytest.raises(ValueError, match=told):
        Choice.of(SOUND | changes)


def test_what_is_no_object_is_refused():
    with pytest.raises(ValueError, match='chosen is None'):
        Choice.of(None)


@pytest.mark.parametrize('kept', [[2], [2, 1, 1], [3, 1], [-1, 1], [0, 0], [2, 1.0], [True, 1]])
def test_depths_that_do_not_fit(kept):
    with pytest.raises(ValueError, match=r'kept_depths is .* it must be 2 whole numbers'):
        check_fits(kept, (2, 6))
