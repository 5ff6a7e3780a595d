"""Criteria that ask how much a block changes what passes through it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmsls.criteria.base import CRITERIA, Evidence
from mmsls.scoring import BlockId


def influences(
    evidence: Evidence, similarity: Callable[[np.ndarray, np.ndarray], float], most: float
) -> dict[BlockId, float]:
    """Return 1 - similarity of each block's features and those of the block before it, at most `most`.

    What is compared are the features that SLS scores: of a ViT the class token alone, where ShortGPT averages over
    tokens; of Swin the average token, behind the stage's patch merging where there is one. The first block of a stage
    is never compared, since the recorder has no feature of its width before it: it counts as indispensable, in every
    stage of a Swin, and gets the highest number there is.
    """
    found = {}
    for (stage, block), features in evidence.features.items():
        before = evidence.features.get((stage, block - 1))
        found[stage, block] = most if before is None else 1.0 - similarity(before, features)
    return found


@CRITERIA.register_module()
class BlockInfluence:
    """One minus the mean cosine of a block's input and output (ShortGPT's influence: Men et al., arXiv 2403.03853)."""

    kind = 'importance'
    unit = 'one minus cosine'

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        return influences(evidence, mean_cosine, most=2.0)


@CRITERIA.register_module()
class CKAInfluence:
    """One minus the linear CKA of a block's input and output features (Kornblith et al., ICML 2019)."""

    kind = 'importance'
    unit = 'one minus CKA'

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        return influences(evidence, linear_cka, most=1.0)


def mean_cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Return the mean cosine of the rows of two arrays (n, d), in [-1, 1].

    Example:
        >>> mean_cosine(np.eye(2), np.array([[2.0, 0.0], [1.0, 0.0]]))
        0.5
    """
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.mean(np.einsum('nd,nd->n', left, right) / np.maximum(norms, 1e-12)))


def linear_cka(left: np.ndarray, right: np.ndarray) -> float:
    """Return the linear centred kernel alignment of two arrays of n rows, in [0, 1], whatever rotation and scale.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(20, 3))
        >>> round(linear_cka(points, -5 * points[:, ::-1] + 1), 6)
        1.0
    """
    a, b = (array.astype(np.float64) - array.mean(axis=0, dtype=np.float64) for array in (left, right))
    cross, within = float(np.linalg.norm(a.T @ b)) ** 2, float(np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    return cross / max(within, 1e-300)
