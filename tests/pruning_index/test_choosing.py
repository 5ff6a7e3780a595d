"""Chosen by hand and by cost, and what the file says of it."""

from __future__ import annotations

import json

import pytest

from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.choosing import by_hand, surely, to_cost
from mmsls.report.score_curve import draw_score_curve
from mmsls.scoring.curve import Curve

VIT = {'type': 'PrunedVisionTransformer', 'embed_dims': 192, 'depths': (4,)}
COSTS = {(4,): 1.0, (3,): 0.8, (2,): 0.6, (1,): 0.4}


@pytest.fixture
def index():
    curve = Curve.from_lists([[50.0, 60.0, 70.0, 69.0]], 'points')
    about = {'stability': {'stable': True}, 'images': 3}
    return PruningIndex.create(scores=curve, backbone=VIT, max_drop=1, provenance=about)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'pruning_index.json'


def rewrite(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def test_by_hand_makes_the_round_trip(index, path):
    found = by_hand(index, [2])
    found.save(path)
    again = PruningIndex.load(path)
    assert again == found
    assert (again.kept_depths, again.kept_blocks, again.told) == ((2,), ((0, 0), (0, 1)), 'by hand')
    assert (again.rule, again.scores, again.provenance) == (index.rule, index.scores, {'images': 3})
    assert not again.decision.unseparated
    assert json.loads(path.read_text())['minor'] == 2
    draw_score_curve(again, path.with_suffix('.png'))


def test_what_goes_on_with_it_keeps_it_and_a_rule_ends_it(index):
    found = by_hand(index, [2])
    assert found.decide() is found.decide(alpha=None, scope=None) is found
    assert found.decide(max_drop=1).kept_depths == (3,)
    assert found.decide(max_drop=1).chosen is None


def test_a_cost_has_a_rule_that_older_releases_read_too(index, path):
    found = to_cost(index, 'target_latency', 0.7, COSTS, 'a measurement')
    assert (found.kept_depths, found.max_drop, found.chosen.reached) == ((2,), 10.0, 0.6)
    assert found.told == 'max_drop 10 points, scope model, for at most 0.7 of the time'
    found.save(path)
    assert PruningIndex.load(path) == found
    rewrite(path, chosen=..., minor=1)
    assert PruningIndex.load(path).kept_depths == (2,)


def test_the_whole_model_is_not_what_the_rule_would_never_keep(index):
    assert to_cost(index, 'target_latency', 1.0, COSTS, '').kept_depths == (3,)


def test_out_of_reach(index):
    found = to_cost(index, 'max_params', 100, {kept: 1e6 * cost for kept, cost in COSTS.items()}, '')
    assert (found.kept_depths, found.chosen.met, found.chosen.reached) == ((1,), False, 400_000)


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'kept_depths': [5]}, r'kept_depths is \[5\]; it must be 1 whole number'),
        ({'kept_depths': [0]}, 'not all 0'),
        ({'kept_blocks': [[0, 0], [0, 2]]}, "kept_blocks is .* but chosen.by is 'hand'; leave it out"),
        ({'chosen': ...}, r'kept_depths is \[2\], but the rule gives \[3\]'),
        ({'chosen': {'by': 'hand'}}, 'chosen is'),
        (
            {'chosen': {'by': 'target_latency', 'asked': 0.7, 'reached': 0.6, 'rests_on': ''}},
            r'kept_depths is \[2\], but the rule gives \[3\]',
        ),
        (
            {'chosen': {'by': 'verify', 'asked': 1, 'reached': 0.6, 'rests_on': ''}},
            r'kept_depths is \[2\], but the rule gives \[3\]',
        ),
    ],
)
def test_a_file_that_disagrees_is_refused(index, path, changes, told):
    by_hand(index, [2]).save(path)
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=rf'pruning_index\.json: .*{told}'):
        PruningIndex.load(path)


def test_a_chosen_that_the_version_does_not_know_is_an_unknown_field(index, path):
    index.save(path)
    rewrite(path, chosen=None)
    with pytest.raises(ValueError, match='chosen is None'):
        PruningIndex.load(path)


ROAD = [44.2, 44.5, 45.1, 45.2, 45.5]
"""Of a model where two depths lie about a point below the best."""


@pytest.fixture
def unsure():
    curve = Curve.from_lists([ROAD], 'points')
    about = {'drop_errors': [[0.4, 0.2, 0.1, 0.1, 0.0]], 'stability': {'stable': False}, 'images': 51}
    vit = {**VIT, 'depths': (5,)}
    return PruningIndex.create(scores=curve, backbone=vit, max_drop=1, provenance=about)


@pytest.mark.parametrize(('most', 'errors', 'kept'), [(1, 1, 3), (1.1, 0.1, 2), (1, 6, 3), (1, 7, 4), (0.1, 1, 5)])
def test_errors_are_added_to_what_is_lost(unsure, path, most, errors, kept):
    found = surely(unsure, most, errors)
    assert (unsure.kept_depths, found.kept_depths) == ((2,), (kept,))
    assert found.chosen.met
    assert found.chosen.reached == pytest.approx(ROAD[-1] - ROAD[kept - 1] + errors * [0.4, 0.2, 0.1, 0.1, 0][kept - 1])
    found.save(path)
    assert PruningIndex.load(path) == found
    assert found.decide() is found
    assert found.decide(max_drop=1).chosen is None


def test_every_stage_must_be_sure():
    curve = Curve.from_lists([[49.5, 50.0], [49.5, 50.0]], 'points')
    about = {'drop_errors': [[0.4, 0.0], [0.6, 0.0]]}
    two = PruningIndex.create(
        scores=curve, backbone={**VIT, 'depths': (2, 2)}, max_drop=1, scope='stage', min_depth=1, provenance=about
    )
    assert two.kept_depths == (1, 1)
    assert surely(two, 1.1).kept_depths == (1, 1)
    assert surely(two, 1.0).kept_depths == (2, 2)


def test_without_errors_nothing_is_sure(index):
    with pytest.raises(ValueError, match='sure asks for standard errors, and the index has none'):
        surely(index, 1.0)
    with pytest.raises(ValueError, match='sure is 0; it must be a number of standard errors above 0'):
        surely(index, 1.0, 0)
