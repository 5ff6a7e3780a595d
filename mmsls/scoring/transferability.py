"""How well features suit a task, in closed form and in units of their own: LogME, H-score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.covariance import ledoit_wolf

from mmsls.scoring.embedding import check_features
from mmsls.scoring.silhouette import check_labels

Array = NDArray[np.float64]


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Return the log maximum evidence of the labels given the features, per sample.

    LogME of You et al., ICML 2021, arXiv 2102.11005: for every class a Bayesian linear regression of its indicator;
    prior and noise are those that make the labels most likely.

    Args:
        features: (n, d), n >= 10.
        labels: (n,), 2 to n - 1 different ones.

    Returns:
        Mean over classes; larger is better, without bounds.

    Raises:
        ValueError: As `layer_scores`.

    Example:
        >>> noise, classes = np.random.default_rng(0).normal(size=(60, 8)), np.repeat([0, 1, 2], 20)
        >>> logme(noise + 5 * classes[:, None], classes) > logme(noise, classes)
        True
    """
    x, classes = checked(features, labels)
    x /= np.sqrt((x**2).mean())  # the evidence does not depend on the scale, but the way to its maximum does
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return float(
        np.mean([evidence(u, s, x.shape[1], (classes == label).astype(float)) for label in np.unique(classes)])
    )


def evidence(u: Array, s: Array, width: int, y: Array, rounds: int = 50) -> float:
    """Return the maximum log evidence per sample of one target, by the fixed-point iteration of the paper.

    Args:
        u: Left singular vectors of the features, (n, r).
        s: Singular values, (r,).
        width: Number of features d.
        y: Target, (n,).
        rounds: Most rounds of the iteration.
    """
    count, projected = len(y), u.T @ y
    apart = float(y @ y - projected @ projected)  # what no linear function of the features can give
    alpha = beta = 1.0
    for _ in range(rounds):
        ratio = alpha / beta
        gamma = float((s**2 / (s**2 + ratio)).sum())
        weights = float(((s * projected / (s**2 + ratio)) ** 2).sum())
        residual = float(((ratio * projected / (s**2 + ratio)) ** 2).sum()) + apart
        new_alpha, new_beta = gamma / (weights + 1e-12), (count - gamma) / (residual + 1e-12)
        settled = abs(new_alpha / new_beta - ratio) <= 1e-4 * ratio
        alpha, beta = new_alpha, new_beta
        if settled:
            break
    log_det = float(np.log(alpha + beta * s**2).sum()) + (width - len(s)) * np.log(alpha)
    fit = count * np.log(beta) + width * np.log(alpha) - count * np.log(2 * np.pi)
    return float(fit - log_det - beta * residual - alpha * weights) / (2 * count)


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Return tr(cov(f)^-1 cov(E[f|y])) with a shrunk covariance.

    H-score of Bao et al., ICIP 2019; shrinkage as Ibrahim et al., arXiv 2110.06893.

    Args:
        features: (n, d), n >= 10.
        labels: (n,), 2 to n - 1 different ones.

    Returns:
        Between 0 and the number of classes - 1; larger is better.

    Raises:
        ValueError: As `layer_scores`.
    """
    x, classes = checked(features, labels)
    centred = x - x.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[classes == label].mean(axis=0) for label in np.unique(classes)])
    shares = np.bincount(classes) / len(classes)
    between = (means * shares[:, None]).T @ means
    return float((1 - shrinkage) * np.trace(np.linalg.solve(covariance, between)))


def checked(features: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.intp]]:
    """Return features in float64 and class numbers, or raise a ValueError (see `check_features` and `check_labels`)."""
    x, classes = check_features(features).astype(np.float64), check_labels(labels)
    if len(x) != len(classes):
        raise ValueError(f'{len(x)} samples but {len(classes)} labels; pass one label per sample')
    return x, classes
