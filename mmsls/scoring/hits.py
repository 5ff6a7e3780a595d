"""Sample by sample: is a classifier right that did not see it? Ridge probe, nearest class mean, nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from mmsls.scoring.ridge import RidgeSums, best_ridge
from mmsls.scoring.transferability import checked

Hits = NDArray[np.bool_]
"""(m,): whether a sample's class was found, in the samples' order; those of classes of one sample are left out."""


def ridge_hits(features: ArrayLike, labels: ArrayLike, *, folds: int = 5, seed: int = 0) -> Hits:
    """Judge every sample by a ridge regression of the classes' indicators, fitted in closed form on the other folds.

    Its regularisation is the one of `RIDGES` with the best mean R2 on the fold that was left out.

    Args:
        features: (n, d), n >= 10; more features than samples, and collinear ones, are no trouble.
        labels: (n,); a class needs two samples or more to count.
        folds: Parts that the samples are dealt to, at least 2.
        seed: Of the dealing.

    Raises:
        ValueError: As `layer_scores`, or if fewer than two classes have two samples.

    Example:
        >>> noise, classes = np.random.default_rng(0).normal(size=(60, 8)), np.repeat([0, 1, 2], 20)
        >>> int(ridge_hits(noise + 9 * np.eye(3, 8)[classes], classes).sum())
        60
    """
    x, classes = countable(features, labels)
    dealt, targets = deal(classes, folds, seed), np.eye(classes.max() + 1)[classes]
    parts = [dealt == fold for fold in range(dealt.max() + 1)]
    sums = [RidgeSums.of(x[part], targets[part]) for part in parts]
    ridge, whole, hits = best_ridge(sums), sum(sums[1:], sums[0]), np.zeros(len(x), dtype=bool)
    for part, mine in zip(parts, sums, strict=True):
        coefficients = (whole - mine).solve(ridge)
        hits[part] = (x[part] @ coefficients[:-1] + coefficients[-1]).argmax(axis=1) == classes[part]
    return hits


def ncm_hits(features: ArrayLike, labels: ArrayLike) -> Hits:
    """Judge every sample by the nearest class mean, its own class's taken without it; a tie is a miss.

    Args:
        features: (n, d), n >= 10.
        labels: (n,); a class needs two samples or more to count.

    Raises:
        ValueError: As `ridge_hits`.
    """
    x, classes = countable(features, labels)
    x = x - x.mean(axis=0)
    counts, rows = np.bincount(classes), np.arange(len(x))
    means = np.eye(len(counts))[classes].T @ x / counts[:, None]
    distances = (x**2).sum(axis=1)[:, None] - 2 * x @ means.T + (means**2).sum(axis=1)
    own = counts[classes]
    # Without the sample, its class's mean is n / (n - 1) times as far away.
    mine = distances[rows, classes] * (own / (own - 1)) ** 2
    distances[rows, classes] = np.inf
    return mine < distances.min(axis=1)


def knn_hits(features: ArrayLike, labels: ArrayLike, *, neighbours: int = 10) -> Hits:
    """Judge every sample by the vote of the others that are nearest by cosine; of equals the nearer class wins.

    Args:
        features: (n, d), n >= 10.
        labels: (n,); a class needs two samples or more to count.
        neighbours: How many vote, at least 1; at most half as many as a class has samples on average.

    Raises:
        ValueError: As `ridge_hits`.
    """
    x, classes = countable(features, labels)
    total = classes.max() + 1
    votes = max(1, min(neighbours, len(x) // (2 * total)))
    distances, nearest = NearestNeighbors(n_neighbors=votes, metric='cosine').fit(x).kneighbors()
    # A cosine distance is at most 2, so that distances together never weigh as much as one vote.
    weights = 1 - distances / (2 * votes + 1)
    ballots = np.zeros((len(x), total))
    np.add.at(ballots, (np.arange(len(x))[:, None], classes[nearest]), weights)
    return ballots.argmax(axis=1) == classes


def countable(features: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the samples whose class has another one, and the numbers of their classes, from 0 without a gap.

    Raises:
        ValueError: As `layer_scores`, or if fewer than two classes are left.
    """
    x, classes = checked(features, labels)
    kept = np.bincount(classes)[classes] >= 2
    left, numbers = np.unique(classes[kept], return_inverse=True)
    if len(left) < 2:
        raise ValueError(
            'labels: an accuracy on samples that were not seen needs two classes with two samples or more; '
            'score more data'
        )
    return x[kept], numbers.reshape(-1)


def deal(classes: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """Return the fold of every sample: every class is dealt out evenly, so that no class lies in one fold alone.

    Args:
        classes: (n,), class numbers; every class has two samples or more.
        folds: Number of folds, at least 2; fewer where there are fewer samples.
        seed: Of the order in which a class's samples are dealt.

    Example:
        >>> deal(np.array([0, 0, 1, 1, 1]), 2, seed=0).tolist()
        [1, 0, 1, 0, 0]
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(classes)), classes))
    dealt = np.empty(len(classes), dtype=np.intp)
    dealt[order] = np.arange(len(classes)) % min(folds, len(classes))
    return dealt
