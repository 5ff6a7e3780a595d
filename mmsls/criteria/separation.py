"""Criteria that ask, as SLS does, how well a block's features separate the classes."""

from __future__ import annotations

from mmsls.criteria.base import CRITERIA, Evidence
from mmsls.scoring import BlockId


@CRITERIA.register_module()
class PlainSilhouette:
    """Mean silhouette of the classes among the features themselves: SLS without t-SNE."""

    kind = 'depth'

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        from sklearn.metrics import (
            silhouette_score,  # slow to import, and needed only where this criterion is asked for
        )

        return {block: float(silhouette_score(x, evidence.labels)) for block, x in evidence.features.items()}


@CRITERIA.register_module()
class LinearProbe:
    """Accuracy above chance of a linear classifier on the features, cross-validated (Alain & Bengio, arXiv 1610.01644).

    Args:
        folds: Number of folds, at least 2.
    """

    kind = 'depth'

    def __init__(self, folds: int = 3) -> None:
        if folds < 2:
            raise ValueError(f'LinearProbe.folds must be at least 2, got {folds}')
        self.folds = folds

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        chance = 1 / len(set(evidence.labels.tolist()))
        splits = StratifiedKFold(self.folds, shuffle=True, random_state=evidence.seed)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, C=0.1))
        return {
            block: float(cross_val_score(probe, x, evidence.labels, cv=splits).mean() - chance)
            for block, x in evidence.features.items()
        }
