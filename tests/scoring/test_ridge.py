"""Ridge from sums against scikit-learn's on the samples themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from mmsls.scoring.ridge import RIDGES, RidgeSums, best_ridge


def problem(n: int = 120, d: int = 7, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) + 5
    y = x @ rng.normal(size=(d, k)) + rng.normal(size=(n, k))
    return x, y, rng.uniform(0.1, 2, size=n)


@pytest.mark.parametrize('ridge', [1e-3, 0.1, 10.0])
def test_coefficients_are_those_of_scikit_learn(ridge: float) -> None:
    x, y, w = problem()
    found = RidgeSums.of(x, y, w).solve(ridge)
    centred = x - np.average(x, axis=0, weights=w)
    variance = np.average(centred**2, axis=0, weights=w).mean()
    model = Ridge(alpha=ridge * variance * w.sum()).fit(x, y, sample_weight=w)
    np.testing.assert_allclose(found[:-1].T, model.coef_, rtol=1e-8)
    np.testing.assert_allclose(found[-1], model.intercept_, rtol=1e-7)


def test_sums_add_up_over_batches_and_subtract_again() -> None:
    x, y, w = problem()
    parts = [RidgeSums.of(x[i : i + 17], y[i : i + 17], w[i : i + 17]) for i in range(0, len(x), 17)]
    whole = sum(parts, RidgeSums.zeros(7, 3))
    np.testing.assert_allclose(whole.solve(0.01), RidgeSums.of(x, y, w).solve(0.01), rtol=1e-9)
    np.testing.assert_allclose(
        (whole - parts[0]).solve(0.01), RidgeSums.of(x[17:], y[17:], w[17:]).solve(0.01), rtol=1e-8
    )


def test_r2_on_unseen_samples_is_scikit_learns() -> None:
    x, y, _ = problem()
    coefficients = RidgeSums.of(x[:80], y[:80]).solve(1e-3)
    predicted = x[80:] @ coefficients[:-1] + coefficients[-1]
    expected = r2_score(y[80:], predicted, multioutput='variance_weighted')
    assert RidgeSums.of(x[80:], y[80:]).r2(coefficients) == pytest.approx(expected, abs=1e-9)


def test_collinear_constant_and_too_many_features_are_no_trouble() -> None:
    x, y, _ = problem(n=10, d=7)
    wide = np.concatenate([x, x, np.ones((10, 3))], axis=1)  # 17 features of 10 samples, rank 7
    assert np.isfinite(RidgeSums.of(wide, y).solve(1e-4)).all()
    assert np.isfinite(RidgeSums.of(wide, y).solve(1e-13)).all()


def test_more_regularisation_is_chosen_where_there_is_only_noise() -> None:
    rng = np.random.default_rng(0)
    noise = [RidgeSums.of(rng.normal(size=(12, 9)), rng.normal(size=(12, 1))) for _ in range(5)]
    assert best_ridge(noise) == max(RIDGES)
    x, y, _ = problem(n=300)
    clean = [RidgeSums.of(part, target) for part, target in zip(np.split(x, 5), np.split(y, 5), strict=True)]
    assert best_ridge(clean) < 1e-2


@pytest.mark.parametrize(
    ('x', 'y', 'w', 'why'),
    [
        (np.ones((4, 2)), np.ones((3, 1)), None, r'features \(4, 2\) and targets \(3, 1\)'),
        (np.ones((4, 2)), np.ones((4, 1)), -np.ones(4), 'at least 0'),
        (np.full((4, 2), np.nan), np.ones((4, 1)), None, 'NaN or infinite'),
    ],
)
def test_wrong_samples_are_refused(x: np.ndarray, y: np.ndarray, w: np.ndarray | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RidgeSums.of(x, y, w)


def test_nothing_to_fit_is_said() -> None:
    with pytest.raises(ValueError, match='no sample has any weight'):
        RidgeSums.zeros(3, 2).solve(0.1)
    with pytest.raises(ValueError, match='same features'):
        RidgeSums.of(np.ones((5, 2)), np.eye(5)).solve(0.1)
    with pytest.raises(ValueError, match='2 folds'):
        best_ridge([RidgeSums.zeros(2, 1)])
