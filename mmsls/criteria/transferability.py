"""Criteria that estimate in closed form how well features suit a task, in units of their own."""

from __future__ import annotations

import numpy as np

from mmsls.criteria.base import CRITERIA, FeatureCriterion


@CRITERIA.register_module()
class LogME(FeatureCriterion):
    """Log maximum evidence of the labels given the features, per sample (You et al., ICML 2021, arXiv 2102.11005).

    It has no zero that means anything, so that `alpha`, a share of the reference score, says little of it: where the
    reference is below 0, nothing is pruned. Look at the curve, or compare by it.
    """

    unit = 'log evidence'

    def score(self, features: np.ndarray, labels: np.ndarray, seed: int) -> float:  # noqa: ARG002 (nothing is drawn)
        """Return the mean over the classes, without bounds."""
        from mmsls.scoring.transferability import logme  # scikit-learn is slow to import

        return logme(features, labels)


@CRITERIA.register_module()
class HScore(FeatureCriterion):
    """Variance between the classes, measured in that of the features (Bao et al., ICIP 2019; arXiv 2110.06893)."""

    unit = 'H-score'

    def score(self, features: np.ndarray, labels: np.ndarray, seed: int) -> float:  # noqa: ARG002
        """Return a number between 0 and the number of classes - 1."""
        from mmsls.scoring.transferability import h_score

        return h_score(features, labels)
