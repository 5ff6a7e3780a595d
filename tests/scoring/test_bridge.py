"""The map that stands in for removed blocks, on a map that is known."""

from __future__ import annotations

import numpy as np
import pytest

from mmsls.scoring.bridge import BridgeSums


def test_a_known_map_is_found_from_batches() -> None:
    rng = np.random.default_rng(0)
    matrix, shift = rng.normal(size=(5, 3)), rng.normal(size=3)
    sums = BridgeSums()
    for _ in range(12):
        x = rng.normal(size=(40, 5)) + 2
        sums.add(x, x @ matrix + shift + 0.01 * rng.normal(size=(40, 3)))
    fitted = sums.solve()
    found = fitted.matrix
    np.testing.assert_allclose(found[:-1], matrix, atol=5e-3)
    np.testing.assert_allclose(found[-1], shift, atol=2e-2)
    assert fitted.ridge == 1e-4
    assert 0.999 < fitted.explained < 1


def test_one_batch_is_enough_and_none_is_said() -> None:
    sums = BridgeSums()
    with pytest.raises(ValueError, match='no tokens'):
        sums.solve()
    sums.add(np.random.default_rng(0).normal(size=(30, 4)), np.ones((30, 2)))
    fitted = sums.solve()
    assert np.isnan(fitted.explained)
    np.testing.assert_allclose(fitted.matrix, np.concatenate([np.zeros((4, 2)), np.ones((1, 2))]), atol=1e-9)


def test_sums_of_two_processes_are_those_of_one() -> None:
    rng = np.random.default_rng(0)
    batches = [(x, x[:, :2] + rng.normal(size=(20, 2))) for x in rng.normal(size=(8, 20, 3))]
    whole, parts = BridgeSums(), (BridgeSums(), BridgeSums())
    for number, batch in enumerate(batches):
        whole.add(*batch)
        parts[number // 4].add(*batch)
    together = parts[0] + parts[1]
    assert together.added == whole.added == 8
    np.testing.assert_allclose(together.solve([1.0]).matrix, whole.solve([1.0]).matrix, atol=1e-12)
    assert (BridgeSums() + whole).solve().explained == whole.solve().explained


def test_a_bounded_rank_is_the_best_map_of_that_rank() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5))  # of rank 2
    sums = BridgeSums()
    for _ in range(8):
        x = rng.normal(size=(50, 6)) * np.arange(1, 7) + 3
        sums.add(x, x @ matrix + 1 + 0.01 * rng.normal(size=(50, 5)))
    full, two, one = sums.solve(), sums.solve(rank=2), sums.solve(rank=1)
    assert full.basis is None
    assert np.linalg.matrix_rank(two.matrix[:-1]) == 2
    np.testing.assert_allclose(two.basis.T @ two.basis, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(two.matrix[:-1], matrix, atol=5e-3)
    assert 1 > two.explained > 0.999 > one.explained > 0.5
    # No other map of rank 1 comes closer, such as the leading singular vector of the full one, whatever the inputs.
    whole = sum(sums.folds[1:], sums.folds[0])
    u, s, v = np.linalg.svd(full.matrix[:-1])
    slope = s[0] * np.outer(u[:, 0], v[0])
    mean = whole.xx[:-1, -1] / whole.weight
    other = np.concatenate([slope, (whole.xy[-1] / whole.weight - mean @ slope)[None]])
    assert whole.residual(one.matrix) < whole.residual(other)
