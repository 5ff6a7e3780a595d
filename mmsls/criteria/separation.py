"""Criteria that ask how well a block's features separate the classes."""

from __future__ import annotations

import numpy as np

from mmsls.criteria.base import CRITERIA, Evidence, FeatureCriterion
from mmsls.scoring import BlockId


@CRITERIA.register_module()
class SLS:
    """Mean silhouette of the classes in the features' t-SNE embedding: the published criterion (Han & Tang, ECCV 2024).

    Args:
        perplexity: t-SNE's perplexity.
        n_jobs: Blocks scored at a time; None: one per core.

    Attributes:
        maps: The embedding of every block that was scored last, (n, 2), float16 in [0, 1]: for people, not for a score.
    """

    kind = 'depth'
    unit = 'silhouette'

    def __init__(self, perplexity: float = 30.0, n_jobs: int | None = None) -> None:
        self.perplexity, self.n_jobs = perplexity, n_jobs
        self.maps: dict[BlockId, np.ndarray] = {}

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block whose features are there."""
        from mmsls.scoring import layer_scores  # scikit-learn is slow to import

        self.maps = {}
        return layer_scores(
            evidence.features,
            evidence.labels,
            perplexity=self.perplexity,
            seed=evidence.seed,
            n_jobs=self.n_jobs,
            on_plane=lambda block, plane: self.maps.update({block: plane.astype(np.float16)}),
        )


@CRITERIA.register_module()
class PlainSilhouette(FeatureCriterion):
    """Mean silhouette of the classes among the features themselves: SLS without t-SNE."""

    unit = 'silhouette'

    def score(self, features: np.ndarray, labels: np.ndarray, seed: int) -> float:  # noqa: ARG002 (nothing is drawn)
        """Return the silhouette, in [-1, 1]."""
        from sklearn.metrics import silhouette_score

        return float(silhouette_score(features, labels))


@CRITERIA.register_module()
class LinearProbe(FeatureCriterion):
    """Accuracy above chance of a linear classifier on the features, cross-validated (Alain & Bengio, arXiv 1610.01644).

    Args:
        folds: Number of folds, at least 2.
    """

    unit = 'accuracy above chance'

    def __init__(self, folds: int = 3) -> None:
        if folds < 2:
            raise ValueError(f'LinearProbe.folds must be at least 2, got {folds}')
        self.folds = folds

    def score(self, features: np.ndarray, labels: np.ndarray, seed: int) -> float:
        """Return the accuracy above chance, below 1."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        splits = StratifiedKFold(self.folds, shuffle=True, random_state=seed)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, C=0.1))
        return float(cross_val_score(probe, features, labels, cv=splits).mean() - 1 / len(set(labels.tolist())))
