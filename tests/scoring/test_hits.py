"""Hits of the closed-form classifiers, against plain loops that leave samples out."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from mmsls.scoring.hits import deal, knn_hits, ncm_hits, ridge_hits
from mmsls.scoring.ridge import RIDGES

LABELS = np.repeat([0, 1, 2], 30)
HITS = [ridge_hits, ncm_hits, knn_hits]


def blobs(distance: float, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(90, d)) + distance * np.eye(3, d)[LABELS]


def as_scored(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize('hits', HITS)
def test_the_further_apart_the_more_hits(hits):
    found = [hits(blobs(distance), LABELS).mean() for distance in (0, 2, 12)]
    assert 0.15 < found[0] < 0.55
    assert found[0] < found[1] < found[2] == 1


def test_ridge_is_scikit_learns_on_the_other_folds():
    x, dealt, targets = as_scored(blobs(1)), deal(LABELS, 5, 3), np.eye(3)[LABELS]

    def found(ridge: float) -> tuple[np.ndarray, float]:
        hits, r2 = np.zeros(90, dtype=bool), []
        for fold in range(5):
            rest, left = dealt != fold, dealt == fold
            alpha = ridge * x[rest].var(axis=0).mean() * rest.sum()
            model = Ridge(alpha=alpha).fit(x[rest], targets[rest])
            predicted = model.predict(x[left])
            hits[left] = predicted.argmax(axis=1) == LABELS[left]
            residual = ((targets[left] - predicted) ** 2).sum()
            r2.append(1 - residual / ((targets[left] - targets[left].mean(axis=0)) ** 2).sum())
        return hits, np.mean(r2)

    expected = max((found(ridge) for ridge in RIDGES), key=lambda pair: pair[1])[0]
    np.testing.assert_array_equal(ridge_hits(x, LABELS, seed=3), expected)


def test_nearest_mean_is_scikit_learns_without_the_sample():
    x = as_scored(blobs(1))
    others = ~np.eye(90, dtype=bool)
    expected = [NearestCentroid().fit(x[rest], LABELS[rest]).predict(x[~rest])[0] for rest in others] == LABELS
    np.testing.assert_array_equal(ncm_hits(x, LABELS), expected)


def test_neighbours_are_scikit_learns_without_the_sample():
    x = as_scored(blobs(1))
    others = ~np.eye(90, dtype=bool)
    model = KNeighborsClassifier(1, metric='cosine')
    expected = [model.fit(x[rest], LABELS[rest]).predict(x[~rest])[0] for rest in others] == LABELS
    np.testing.assert_array_equal(knn_hits(x, LABELS, neighbours=1), expected)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similar = unit @ unit.T - 9 * np.eye(90)
    for sample, hit in enumerate(knn_hits(x, LABELS, neighbours=7)):
        votes = Counter(LABELS[np.argsort(-similar[sample])[:7]]).most_common()
        if len(votes) == 1 or votes[0][1] > votes[1][1]:
            assert hit == (votes[0][0] == LABELS[sample])


@pytest.mark.parametrize('hits', HITS)
def test_the_same_again_whatever_the_scale_and_labels_are_called(hits):
    x = blobs(1)
    first = hits(x, LABELS)
    np.testing.assert_array_equal(hits(x, LABELS), first)
    np.testing.assert_array_equal(hits(1024 * x, LABELS), first)
    np.testing.assert_array_equal(hits(x, np.array(['ant', 'bee', 'cow'])[LABELS]), first)


@pytest.mark.parametrize('hits', HITS)
def test_more_features_than_samples_and_collinear_ones(hits):
    wide = np.concatenate([np.tile(blobs(12), (1, 40)), np.ones((90, 3))], axis=1)
    assert hits(wide - wide.mean(axis=0), LABELS).all()


@pytest.mark.parametrize('hits', HITS)
def test_bad_input_is_refused(hits):
    with pytest.raises(ValueError, match='same features'):
        hits(np.ones((90, 4)), LABELS)
    with pytest.raises(ValueError, match='NaN or infinite'):
        hits(np.full((90, 4), np.nan), LABELS)
    with pytest.raises(ValueError, match='only the class'):
        hits(blobs(1), np.zeros(90, int))
    with pytest.raises(ValueError, match='classes of their own'):
        hits(blobs(1), np.arange(90))
    with pytest.raises(ValueError, match='90 samples but 3 labels'):
        hits(blobs(1), [0, 1, 1])
    with pytest.raises(ValueError, match='two classes with two samples'):
        hits(blobs(12)[:12], [0] * 11 + [1])
    with pytest.raises(ValueError, match='10 samples'):
        hits(blobs(12)[:9], LABELS[:9])


@pytest.mark.parametrize('hits', HITS)
def test_a_class_of_one_sample_does_not_count(hits):
    labels = LABELS.copy()
    labels[0] = 7
    found = hits(blobs(12), labels)
    assert found.shape == (89,)
    assert found.all()


@pytest.mark.parametrize('hits', [partial(ridge_hits, folds=50), partial(knn_hits, neighbours=500), ncm_hits])
def test_fewer_samples_than_folds_or_neighbours(hits):
    rows = np.r_[0:2, 30:34, 60:64]
    found = hits(blobs(30)[rows], LABELS[rows])
    assert found.shape == (10,)
    assert found.mean() >= 0.8


def test_every_class_is_in_several_folds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        classes = np.sort(rng.integers(0, 6, size=40))
        classes = classes[np.bincount(classes)[classes] >= 2]
        dealt = deal(classes, 5, int(rng.integers(1000)))
        assert np.ptp(np.bincount(dealt)) <= 1
        assert all(len(set(dealt[classes == label])) >= 2 for label in classes)
