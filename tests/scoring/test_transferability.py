"""Closed-form scores on blobs whose answer is known, and against a plain computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from mmsls.scoring.transferability import evidence, h_score, logme

LABELS = np.repeat([0, 1, 2], 30)
SCORES = [logme, h_score]


def blobs(distance: float, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(90, d)) + distance * np.eye(3, d)[LABELS]


@pytest.mark.parametrize('score', SCORES)
def test_the_further_apart_the_better(score) -> None:
    found = [score(blobs(distance), LABELS) for distance in (0, 2, 8)]
    assert found == sorted(found)
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize('score', SCORES)
@pytest.mark.parametrize('scale', [1e-6, 1e6])
def test_scale_makes_no_difference(score, scale) -> None:
    for x, labels in ((blobs(2), LABELS), (blobs(2, d=200)[::8], LABELS[::8])):
        assert score(scale * x, labels) == pytest.approx(score(x, labels), rel=1e-3)


def test_logme_is_the_maximum_of_the_evidence() -> None:
    x, y = blobs(1.0), (LABELS == 0).astype(float)

    def negative(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(y)) / beta + x @ x.T / alpha
        return -multivariate_normal(np.zeros(len(y)), covariance).logpdf(y) / len(y)

    best = -minimize(negative, [0.0, 0.0], method='Nelder-Mead', options={'maxiter': 400}).fun
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    assert evidence(u, s, x.shape[1], y) == pytest.approx(best, abs=1e-4)


def test_h_score_lies_between_its_bounds() -> None:
    assert 0 <= h_score(blobs(0), LABELS) < 0.5
    assert 1.5 < h_score(blobs(20), LABELS) <= 2


@pytest.mark.parametrize('score', SCORES)
def test_more_features_than_samples_and_collinear_ones(score) -> None:
    wide = np.tile(blobs(6), (1, 40))
    assert np.isfinite(score(wide, LABELS))


@pytest.mark.parametrize('score', SCORES)
def test_bad_input_is_refused(score) -> None:
    with pytest.raises(ValueError, match='same features'):
        score(np.ones((90, 4)), LABELS)
    with pytest.raises(ValueError, match='NaN or infinite'):
        score(np.full((90, 4), np.nan), LABELS)
    with pytest.raises(ValueError, match='only the class'):
        score(blobs(1), np.zeros(90, int))
    with pytest.raises(ValueError, match='90 samples but 3 labels'):
        score(blobs(1), [0, 1, 1])
