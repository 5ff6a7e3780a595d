"""A last layer from sums: exact where it can be, scaled so that a softmax reads it, judged on what it did not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from mmsls.scoring.refit import SCALES, HeadSums, applied, judge
from mmsls.scoring.ridge import RidgeSums

DRAWN = np.random.default_rng(0)
LABELS = DRAWN.integers(0, 4, 400)
FEATURES = DRAWN.normal(size=(400, 6)) + 1.2 * np.eye(4, 6)[LABELS]


def summed(features=FEATURES, labels=LABELS, images=None, **more):
    sums = HeadSums(classes=4)
    sums.add(features, labels, np.arange(len(labels)) if images is None else images, **more)
    return sums


def test_the_layer_is_a_scaled_ridge_regression_of_all_samples():
    fitted = summed().solve()
    plain = RidgeSums.of(FEATURES, np.eye(4)[LABELS]).solve(fitted.ridge)
    assert np.allclose(fitted.matrix, fitted.judged.scale * plain, atol=1e-9)
    assert (applied(fitted.matrix, FEATURES).argmax(1) == LABELS).mean() > 0.5


def test_classes_that_are_linear_in_the_features_are_all_found():
    fitted = summed(np.eye(4)[LABELS]).solve()
    assert fitted.judged.accuracy == 1
    assert fitted.judged.scale == pytest.approx(SCALES[1], rel=1e-3)  # nothing is wrong, so it ends at the bound


def test_the_scale_makes_the_scores_logits():
    fitted = summed().solve()
    loss = {
        factor: -log_softmax(factor * applied(fitted.matrix, FEATURES), axis=1)[np.arange(400), LABELS].mean()
        for factor in (1 / fitted.judged.scale, 0.5, 1.0, 2.0)
    }
    assert min(loss, key=loss.get) == 1.0
    assert fitted.judged.scale > 2


def test_what_was_held_out_judges():
    noise = DRAWN.normal(size=(40, 60))
    fitted = summed(noise, LABELS[:40]).solve(ridges=[1e-4])
    assert (applied(fitted.matrix, noise).argmax(1) == LABELS[:40]).all()
    assert fitted.judged.accuracy < 0.6
    assert summed(noise, LABELS[:40]).solve().ridge >= 1


def test_batches_and_processes_add_up_and_an_image_lies_in_one_fold():
    parts = [summed(FEATURES[part], LABELS[part], np.arange(200) // 10) for part in (slice(200), slice(200, 400))]
    other = HeadSums(classes=4)
    for part in (slice(200), slice(200, 400)):
        other.add(FEATURES[part], LABELS[part], np.arange(200) // 10)
    ours, theirs = (parts[0] + parts[1]).solve(), other.solve()
    assert np.allclose(ours.matrix, theirs.matrix, atol=1e-9)
    assert (other.images, other.samples) == (40, 400)
    assert all(len(set(group)) == 1 for group in other.held().folds.reshape(40, 10).tolist())
    assert [round(fold.weight) for fold in other.folds] == [100] * 4


def test_weights_count_and_some_samples_are_kept():
    twice = summed(np.repeat(FEATURES, 2, axis=0), np.repeat(LABELS, 2), np.repeat(np.arange(400), 2))
    weighted = summed(weights=np.full(400, 2.0))
    assert np.allclose(twice.solve().matrix, weighted.solve().matrix)
    some = summed(kept=np.arange(400) % 5 == 0)
    assert len(some.held().labels) == 80
    assert np.allclose(
        some.solve([0.1]).matrix / some.solve([0.1]).judged.scale, RidgeSums.of(FEATURES, np.eye(4)[LABELS]).solve(0.1)
    )


def test_a_class_that_is_never_seen_is_never_preferred():
    fitted = summed(labels=np.minimum(LABELS, 2)).solve()
    assert 3 not in applied(fitted.matrix, FEATURES).argmax(1)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match='no labelled samples'):
        HeadSums(classes=4).solve()
    with pytest.raises(ValueError, match='there is one image'):
        summed(images=np.zeros(400, int)).solve()
    with pytest.raises(ValueError, match='label 7 is out of range: the head knows 4 classes'):
        summed(labels=LABELS + 4)
    with pytest.raises(ValueError, match='NaN'):
        summed(FEATURES * np.nan)
    with pytest.raises(ValueError, match='same features'):
        summed(np.ones((400, 2))).solve()


def test_even_scores_are_worth_chance():
    judged = judge(np.zeros((8, 4)), np.arange(8) % 4, np.ones(8))
    assert judged.loss == pytest.approx(np.log(4))
    assert judged.accuracy == 0.25
