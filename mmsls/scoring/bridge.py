"""The affine map that stands in for a run of removed blocks, fitted by least squares from sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmsls.scoring.ridge import RIDGES, Array, RidgeSums, best_ridge

FOLDS = 4
STRENGTHS = (*RIDGES, 10.0, 100.0, 1000.0)
"""Regularisations that are tried; the strongest leaves little but a shift, which is all that a few tokens tell."""


@dataclass(frozen=True)
class BridgeMap:
    """A map that was fitted.

    Attributes:
        matrix: (d + 1, k), the last row its shift.
        ridge: The regularisation that was chosen, relative to the mean variance of a feature.
        explained: Share of the targets' sum of squares that it explains on folds that were left out: 1 at best, below 0
            where zeros do better; NaN with a single fold.
        basis: (k, r) with orthonormal columns, where the map's rank was bounded: its slope is slope @ basis @ basis.T.
    """

    matrix: Array
    ridge: float
    explained: float
    basis: Array | None = None


@dataclass
class BridgeSums:
    """Sums for one map, split into folds so that the regularisation can be chosen by cross-validation.

    Bounded: (d + 1) x (d + 1 + k) numbers of 8 bytes per fold, however many samples there are.

    Attributes:
        folds: Sums of disjoint parts of the samples.
        added: How many batches were added.
    """

    folds: list[RidgeSums | None] = field(default_factory=lambda: [None] * FOLDS)
    added: int = 0

    def add(self, inputs: NDArray, targets: NDArray) -> None:
        """Add the tokens of one batch of images; it goes to one fold whole, since an image's tokens are alike.

        Args:
            inputs: (n, d).
            targets: (n, k).

        Raises:
            ValueError: If a value is not finite.
        """
        fold = self.added % len(self.folds)
        self.folds[fold] = added(self.folds[fold], RidgeSums.of(inputs, targets))
        self.added += 1

    def __add__(self, other: BridgeSums) -> BridgeSums:
        folds = [added(ours, theirs) for ours, theirs in zip(self.folds, other.folds, strict=True)]
        return BridgeSums(folds, self.added + other.added)

    def solve(self, ridges: Sequence[float] = STRENGTHS, rank: int | None = None) -> BridgeMap:
        """Return the map with the regularisation that does best on folds that are left out.

        Args:
            ridges: What to choose the regularisation from.
            rank: Highest rank of the map; None: any.

        Raises:
            ValueError: If nothing was added, or all inputs are the same.
        """
        folds = [fold for fold in self.folds if fold is not None]
        if not folds:
            raise ValueError('the bridge saw no tokens: there are no images to fit it on')
        whole = sum(folds[1:], folds[0])
        if len(folds) == 1:
            matrix, basis = solved(whole, max(ridges), rank)
            return BridgeMap(matrix, max(ridges), float('nan'), basis)
        ridge = best_ridge(folds, ridges)
        left = sum(fold.residual(solved(whole - fold, ridge, rank)[0]) for fold in folds)
        matrix, basis = solved(whole, ridge, rank)
        return BridgeMap(matrix, ridge, 1 - left / whole.yy if whole.yy > 0 else 0.0, basis)


def solved(sums: RidgeSums, ridge: float, rank: int | None) -> tuple[Array, Array | None]:
    """Return the coefficients of a ridge regression, and the basis of their outputs where the rank is bounded.

    Reduced-rank regression (Izenman, 1975): of all maps of that rank the one whose predictions are closest to those of
    the full one, which keeps the leading principal components of these predictions.
    """
    full = sums.solve(ridge)
    if rank is None:
        return full, None
    mean = sums.xx[:-1, -1] / sums.weight
    slope, centre = full[:-1], full[-1] + mean @ full[:-1]
    covariance = sums.xx[:-1, :-1] / sums.weight - np.outer(mean, mean)
    basis = np.linalg.eigh(slope.T @ covariance @ slope)[1][:, ::-1][:, :rank]
    slope = slope @ basis @ basis.T
    return np.concatenate([slope, (centre - mean @ slope)[None]]), basis


def added(sums: RidgeSums | None, more: RidgeSums | None) -> RidgeSums | None:
    """Return the sum of two, either of which may be missing."""
    return more if sums is None else sums if more is None else sums + more
