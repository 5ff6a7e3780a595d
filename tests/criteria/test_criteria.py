"""Every criterion on something whose answer is known."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmsls.criteria import CRITERIA, kept_blocks
from mmsls.criteria.base import AccuracyCriterion
from mmsls.criteria.choosing import build_criterion, check_block_scores, needs_of
from mmsls.criteria.influence import linear_cka, mean_cosine
from mmsls.scoring.rule import Rule

KINDS = {
    'SLS': ('depth', 'features'),
    'Magnitude': ('importance', 'model'),
    'Random': ('importance', 'model'),
    'BlockInfluence': ('importance', 'features'),
    'CKAInfluence': ('importance', 'features'),
    'Taylor': ('importance', 'loss'),
    'LinearProbe': ('depth', 'features'),
    'PlainSilhouette': ('depth', 'features'),
    'Probe': ('depth', 'features'),
    'NCM': ('depth', 'features'),
    'KNN': ('depth', 'features'),
    'LogME': ('depth', 'features'),
    'HScore': ('depth', 'features'),
    'Bridged': ('depth', 'trial'),
}
"""What every criterion rates, and what it looks at."""
ALONE = [name for name, (_, needs) in KINDS.items() if needs != 'trial']
"""Those that need no evaluator; tests/criteria/test_bridged.py tries the other."""
POINTS = ['Probe', 'NCM', 'KNN']


def make(name, **arguments):
    return CRITERIA.build({'type': name, **arguments})


def separated(distances, labels, seed=0):
    """Features whose classes lie a given distance apart, one block per distance."""
    rng = np.random.default_rng(seed)
    return {
        (0, block): (rng.normal(size=(len(labels), 8)) + distance * labels[:, None]).astype(np.float32)
        for block, distance in enumerate(distances)
    }


def test_every_registered_criterion_is_tested():
    made = {name: make(name) for name in CRITERIA.module_dict}
    assert {name: (one.kind, needs_of(one)) for name, one in made.items()} == KINDS


@pytest.mark.parametrize('name', ALONE)
def test_a_criterion_gives_every_block_a_number_and_leaves_the_model_alone(evidence, name):
    given = evidence()
    before = {key: value.clone() for key, value in given.model.state_dict().items()}
    trainable = {key for key, p in given.model.named_parameters() if p.requires_grad}
    scores = make(name)(given)
    assert list(scores) == [(0, block) for block in range(4)]
    assert all(math.isfinite(score) for score in scores.values())
    assert scores == make(name)(given)
    assert all(torch.equal(value, before[key]) for key, value in given.model.state_dict().items())
    assert {key for key, p in given.model.named_parameters() if p.requires_grad} == trainable
    assert all(p.grad is None for p in given.model.parameters())


def test_magnitude_sees_a_block_of_small_weights(evidence, build):
    model = build()
    with torch.no_grad():
        for parameter in model.backbone.layers[2].parameters():
            parameter *= 0.1
    scores = make('Magnitude')(evidence(model))
    assert min(scores, key=scores.get) == (0, 2)


def test_taylor_sees_a_block_that_the_loss_does_not_depend_on(evidence, build):
    model = build()
    layer = model.backbone.layers[1]
    with torch.no_grad():
        # What leaves the branches is nothing: no weight before these has a gradient, and these are zero themselves.
        for part in (layer.attn.proj, layer.ffn.layers[1], *(adapter.up for adapter in layer.adapters.values())):
            for parameter in part.parameters():
                parameter.zero_()
    scores = make('Taylor')(evidence(model))
    assert scores[0, 1] == 0
    assert all(scores[0, block] > 0 for block in (0, 2, 3))


def test_taylor_takes_as_many_batches_as_it_is_told(evidence):
    one, three = (make('Taylor', batches=count)(evidence()) for count in (1, 3))
    assert one != three


def test_taylor_puts_gradients_back_that_were_there(evidence, build):
    model = build()
    weight = next(p for p in model.parameters() if p.requires_grad)
    weight.grad = torch.ones_like(weight)
    make('Taylor')(evidence(model))
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_taylor_without_batches_is_refused(evidence):
    with pytest.raises(ValueError, match='no labelled batches'):
        make('Taylor')(replace(evidence(), batches=()))


@pytest.mark.parametrize('name', ['BlockInfluence', 'CKAInfluence'])
def test_influence_sees_a_block_that_changes_nothing(evidence, name):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(60, 8)).astype(np.float32)
    other, third = rng.normal(size=(2, 60, 8)).astype(np.float32)
    scores = make(name)(evidence(features={(0, 0): first, (0, 1): 2 * first, (0, 2): other, (0, 3): third}))
    assert scores[0, 0] == {'BlockInfluence': 2.0, 'CKAInfluence': 1.0}[name]
    assert scores[0, 1] == pytest.approx(0, abs=1e-6)
    assert scores[0, 2] > 0.3


def test_influence_compares_within_a_stage_only(evidence):
    rng = np.random.default_rng(0)
    features = {(stage, block): rng.normal(size=(60, 4 * (stage + 1))) for stage in range(2) for block in range(2)}
    scores = make('CKAInfluence')(evidence(features=features))
    assert [block for block, score in scores.items() if score == 1.0] == [(0, 0), (1, 0)]


def test_similarities_have_known_values():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 4))
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert linear_cka(points, points @ rotation * 3 + 5) == pytest.approx(1)
    assert linear_cka(points, rng.normal(size=(50, 4))) < 0.3
    assert mean_cosine(points, -points) == pytest.approx(-1)


@pytest.mark.parametrize('name', ['LinearProbe', 'PlainSilhouette'])
def test_separation_grows_with_the_distance_of_the_classes(evidence, name):
    labels = np.repeat([0, 1, 2], 20)
    scores = make(name)(evidence(features=separated([0, 0.5, 1, 10], labels), labels=labels))
    assert scores[0, 0] < scores[0, 1] < scores[0, 2] <= scores[0, 3]
    assert scores[0, 3] > (0.6 if name == 'LinearProbe' else 0.5)


@pytest.mark.parametrize('name', [*POINTS, 'LogME', 'HScore'])
def test_separation_grows_with_the_distance_of_classes_in_directions_of_their_own(evidence, name):
    labels = np.repeat([0, 1, 2], 20)
    directions = np.eye(3, 8)[labels]
    noise = np.random.default_rng(0).normal(size=(60, 8))
    features = {(0, block): noise + distance * directions for block, distance in enumerate([0, 1, 3, 20])}
    scores = make(name)(evidence(features=features, labels=labels))
    assert max(scores[0, 0], scores[0, 1]) < scores[0, 2] <= scores[0, 3]
    assert scores[0, 3] == 100 or name not in POINTS


@pytest.mark.parametrize('name', ['probe', 'ncm', 'knn', 'logme', 'hscore', 'PROBE', 'mmsls.Probe'])
def test_short_names_are_found_in_any_case(name):
    assert type(build_criterion(name)).__name__.lower() == name.lower().removeprefix('mmsls.')


def test_the_rule_names_the_criteria_that_have_points():
    kinds = CRITERIA.module_dict
    assert sorted(POINTS) == sorted(name for name in ALONE if kinds[name].unit == 'points')
    with pytest.raises(ValueError, match='in points') as error:
        Rule(max_drop=1).check_unit('silhouette')
    assert sorted(re.findall(r"'(\w+)'", str(error.value))) == sorted(name.lower() for name in POINTS)


@pytest.mark.parametrize('name', POINTS)
def test_points_are_the_share_of_hits_and_every_block_judges_the_same_samples(evidence, name):
    labels = np.repeat([0, 1, 2, 3], [20, 20, 19, 1])
    given = evidence(features=separated([0, 0.5, 1, 10], labels), labels=labels)
    criterion = make(name)
    assert isinstance(criterion, AccuracyCriterion)
    hits = {block: criterion.hits(x, labels, 0) for block, x in given.features.items()}
    assert {found.shape for found in hits.values()} == {(59,)}
    assert criterion(given) == pytest.approx({block: 100 * found.mean() for block, found in hits.items()})


def test_max_drop_reads_points(evidence):
    labels = np.repeat([0, 1, 2], 20)
    scores = make('NCM')(evidence(features=separated([0, 1, 10, 10], labels), labels=labels))
    assert kept_blocks(make('NCM'), scores, count=1, max_drop=1.0) == ((0, 0), (0, 1), (0, 2))


@pytest.mark.parametrize(
    ('name', 'arguments', 'said'),
    [
        ('Probe', {'folds': 1}, 'Probe.folds is 1'),
        ('Probe', {'folds': 2.0}, 'Probe.folds is 2.0'),
        ('KNN', {'neighbours': 0}, 'KNN.neighbours is 0'),
        ('KNN', {'neighbours': True}, 'KNN.neighbours is True'),
        ('Taylor', {'batches': 0}, 'Taylor.batches is 0'),
    ],
)
def test_arguments_out_of_range_are_named(name, arguments, said):
    with pytest.raises(ValueError, match=said):
        make(name, **arguments)


def test_chance_depends_on_the_seed_alone(evidence):
    assert make('Random')(evidence(seed=1)) != make('Random')(evidence(seed=2))


def test_importance_keeps_the_most_important_blocks_wherever_they_are():
    scores = {(0, 0): 0.1, (0, 1): 0.9, (1, 0): 0.5, (1, 1): 0.5}
    assert kept_blocks(make('Magnitude'), scores, count=2) == ((0, 1), (1, 0))


def test_depth_finds_its_own_depth_by_the_walk():
    scores = {(0, 0): 0.1, (0, 1): 0.2, (0, 2): 0.8, (0, 3): 0.9}
    assert kept_blocks(make('LinearProbe'), scores, count=1, alpha=0.3) == ((0, 0), (0, 1), (0, 2))


def test_depth_reads_a_curve_in_its_own_unit():
    scores = {(0, 0): -10.0, (0, 1): 20.0, (0, 2): 80.0}
    assert kept_blocks(make('LinearProbe'), scores, count=1, alpha=0.5) == ((0, 0), (0, 1), (0, 2))


@pytest.mark.parametrize('count', [0, 5])
def test_a_count_that_cannot_be_is_refused(count):
    with pytest.raises(ValueError, match='count'):
        kept_blocks(make('Magnitude'), {(0, block): 1.0 for block in range(4)}, count=count)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r'taylor.*\(0, 1\)'):
        check_block_scores('taylor', {(0, 0): 1.0, (0, 1): math.nan})
