"""A classifier's last layer in closed form: ridge regression of the classes' indicators, scaled to be read by softmax.

Indicators are numbers between 0 and 1, and a softmax of them is nearly flat, so that a loss would begin by pulling them
apart. Scaled by one factor the scores rank the classes as before, and are logits: the factor that gives samples which
were held out the lowest cross-entropy (temperature scaling, Guo et al., ICML 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from mmsls.scoring.bridge import FOLDS, STRENGTHS, added
from mmsls.scoring.ridge import Array, RidgeSums

SCALES = (0.1, 20.0)
"""The smallest and the largest scale; far above, a softmax of indicators is 0 or 1 and nothing is learned from it."""


class Judged(NamedTuple):
    """What scores are worth, at their best scale.

    Attributes:
        loss: Mean cross-entropy of the scaled scores, in nats.
        scale: The scale.
        accuracy: Share of the weight whose class has the largest score.
    """

    loss: float
    scale: float
    accuracy: float


class Held(NamedTuple):
    """Samples that are kept to judge by.

    Attributes:
        features: (n, d).
        labels: (n,), class numbers.
        weights: (n,).
        folds: (n,), the fold that each was added to.
    """

    features: Array
    labels: NDArray[np.intp]
    weights: Array
    folds: NDArray[np.intp]


@dataclass(frozen=True)
class HeadMap:
    """A last layer that was fitted.

    Attributes:
        matrix: (d + 1, k), the last row its bias; scaled.
        ridge: The regularisation that was chosen, relative to the mean variance of a feature.
        judged: What it is worth on samples that it was not fitted on.
    """

    matrix: Array
    ridge: float
    judged: Judged


@dataclass
class HeadSums:
    """Sums over labelled samples for a last layer, split into folds, and some of the samples.

    Bounded: (d + 1) x (d + 1 + k) numbers of 8 bytes per fold, and the samples that the caller has kept.

    Attributes:
        classes: Number of classes.
        folds: Sums of disjoint parts of the images.
        parts: The samples that are kept.
        images: How many images were added.
        samples: How many samples.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> sums = HeadSums(classes=2)
        >>> sums.add(x, (x[:, 0] > 0).astype(int), np.arange(200))
        >>> sums.solve().judged.accuracy > 0.95
        True
    """

    classes: int
    folds: list[RidgeSums | None] = field(default_factory=lambda: [None] * FOLDS)
    parts: list[Held] = field(default_factory=list)
    images: int = 0
    samples: int = 0

    def add(
        self,
        features: NDArray,
        labels: NDArray,
        images: NDArray,
        weights: NDArray | None = None,
        kept: NDArray | None = None,
    ) -> None:
        """Add samples of new images; an image goes to one fold whole, since its samples are alike.

        Args:
            features: (n, d).
            labels: (n,), from 0 to `classes` - 1.
            images: (n,), which image each is of, numbered from 0.
            weights: (n,), not negative; None: 1 each.
            kept: (n,), bool: which of them are kept to judge by; None: all.

        Raises:
            ValueError: If a value is not finite, or a label is out of range.
        """
        if not len(labels):
            return
        x, y = np.asarray(features, np.float64), np.asarray(labels, np.intp)
        if y.min() < 0 or y.max() >= self.classes:
            raise ValueError(f'label {max(y.max(), -y.min())} is out of range: the head knows {self.classes} classes')
        w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        folds = (self.images + np.asarray(images, np.intp)) % len(self.folds)
        targets = np.eye(self.classes)[y]
        for fold in np.unique(folds):
            of = folds == fold
            self.folds[fold] = added(self.folds[fold], RidgeSums.of(x[of], targets[of], w[of]))
        chosen = slice(None) if kept is None else np.asarray(kept, bool)
        self.parts.append(Held(x[chosen], y[chosen], w[chosen], folds[chosen]))
        self.images += int(images.max()) + 1
        self.samples += len(y)

    def __add__(self, other: HeadSums) -> HeadSums:
        folds = [added(ours, theirs) for ours, theirs in zip(self.folds, other.folds, strict=True)]
        parts, images = [*self.parts, *other.parts], self.images + other.images
        return HeadSums(self.classes, folds, parts, images, self.samples + other.samples)

    def held(self) -> Held:
        """Return the samples that are kept.

        Raises:
            ValueError: If there are none.
        """
        if not self.parts:
            raise ValueError('the head saw no labelled samples: there is nothing to fit it on')
        return Held(*(np.concatenate(part) for part in zip(*self.parts, strict=True)))

    def solve(self, ridges: Sequence[float] = STRENGTHS) -> HeadMap:
        """Return the layer with the regularisation and the scale that do best on folds that are left out.

        Raises:
            ValueError: If there are fewer than two images, or all features are the same.
        """
        held, folds = self.held(), {n: fold for n, fold in enumerate(self.folds) if fold is not None}
        if len(folds) < 2:
            raise ValueError('the head is judged on images that are left out, and there is one image; give more')
        whole = reduce(RidgeSums.__add__, folds.values())
        found = {}
        for ridge in ridges:
            scores = np.empty((len(held.labels), self.classes))
            for number, fold in folds.items():
                of = held.folds == number
                scores[of] = applied((whole - fold).solve(ridge), held.features[of])
            found[ridge] = judge(scores, held.labels, held.weights)
        best = min(found, key=lambda ridge: (found[ridge].loss, -ridge))
        return HeadMap(found[best].scale * whole.solve(best), best, found[best])


def applied(matrix: Array, features: Array) -> Array:
    """Return the scores (n, k) that a matrix (d + 1, k), its last row the bias, gives to features (n, d)."""
    return features @ matrix[:-1] + matrix[-1]


def judge(scores: Array, labels: NDArray[np.intp], weights: Array) -> Judged:
    """Say what scores (n, k) are worth, scaled so that their cross-entropy is lowest.

    Example:
        >>> judged = judge(np.eye(2)[[0, 0, 1, 0]], np.array([0, 0, 1, 1]), np.ones(4))
        >>> judged.accuracy, round(float(np.exp(-judged.scale)), 2)  # a quarter is wrong: odds of 3 to 1
        (0.75, 0.33)
    """
    share = weights / weights.sum()
    own = scores[np.arange(len(scores)), labels]

    def loss(log_scale: float) -> float:
        scale = np.exp(log_scale)
        return float(share @ (logsumexp(scale * scores, axis=1) - scale * own))

    best = minimize_scalar(loss, bounds=np.log(SCALES), method='bounded')
    right = scores.argmax(axis=1) == labels
    return Judged(float(best.fun), float(np.exp(best.x)), float(weights[right].sum() / weights.sum()))
