"""The affine map that stands in for a run of removed blocks, fitted by least squares from sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmsls.scoring.ridge import RIDGES, RidgeSums, best_ridge

FOLDS = 4


@dataclass(frozen=True)
class BridgeMap:
    """A map that was fitted.

    Attributes:
        matrix: (d + 1, k), the last row its shift.
        ridge: The regularisation that was chosen, relative to the mean variance of a feature.
        r2: Share of the targets' variance that it explains on folds that were left out; NaN with a single fold.
    """

    matrix: NDArray[np.float64]
    ridge: float
    r2: float


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

    def solve(self, ridges: Sequence[float] = RIDGES) -> BridgeMap:
        """Return the map with the regularisation that does best on folds that are left out.

        Raises:
            ValueError: If nothing was added, or all inputs are the same.
        """
        folds = [fold for fold in self.folds if fold is not None]
        if not folds:
            raise ValueError('the bridge saw no tokens: there are no images to fit it on')
        whole = sum(folds[1:], folds[0])
        if len(folds) == 1:
            return BridgeMap(whole.solve(max(ridges)), max(ridges), float('nan'))
        ridge = best_ridge(folds, ridges)
        r2 = float(np.mean([fold.r2((whole - fold).solve(ridge)) for fold in folds]))
        return BridgeMap(whole.solve(ridge), ridge, r2)


def added(sums: RidgeSums | None, more: RidgeSums | None) -> RidgeSums | None:
    """Return the sum of two, either of which may be missing."""
    return more if sums is None else sums if more is None else sums + more
