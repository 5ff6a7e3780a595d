"""Criteria in points: how many samples a classifier gets right that did not see them."""

from __future__ import annotations

import numpy as np

from mmsls.criteria.base import CRITERIA, AccuracyCriterion, check_count


@CRITERIA.register_module()
class Probe(AccuracyCriterion):
    """Cross-validated accuracy of a linear probe, fitted in closed form (ridge regression of the classes' indicators).

    A linear classifier as Alain & Bengio's probe (arXiv 1610.01644), but without iterations; its regularisation is
    chosen by cross-validation too.

    Args:
        folds: Number of folds, at least 2.
    """

    def __init__(self, folds: int = 5) -> None:
        self.folds = check_count('Probe.folds', folds, 2)

    def hits(self, features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
        """Return for every sample whether the probe of the other folds finds its class."""
        from mmsls.scoring.hits import ridge_hits  # scikit-learn is slow to import

        return ridge_hits(features, labels, folds=self.folds, seed=seed)


@CRITERIA.register_module()
class NCM(AccuracyCriterion):
    """Leave-one-out accuracy of the nearest class mean (Mensink et al., TPAMI 2013)."""

    def hits(self, features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:  # noqa: ARG002
        """Return for every sample whether the mean of its class's others is the nearest one."""
        from mmsls.scoring.hits import ncm_hits

        return ncm_hits(features, labels)


@CRITERIA.register_module()
class KNN(AccuracyCriterion):
    """Leave-one-out accuracy of the vote of the nearest neighbours by cosine (Cover & Hart, 1967).

    Args:
        neighbours: How many vote, at least 1; at most half as many as a class has samples on average.
    """

    def __init__(self, neighbours: int = 10) -> None:
        self.neighbours = check_count('KNN.neighbours', neighbours, 1)

    def hits(self, features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:  # noqa: ARG002
        """Return for every sample whether the others nearest to it vote for its class."""
        from mmsls.scoring.hits import knn_hits

        return knn_hits(features, labels, neighbours=self.neighbours)
