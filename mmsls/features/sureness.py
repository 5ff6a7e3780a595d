"""How sure a decision in points is, as an index says it: from the samples or images that the curve is of."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsls.criteria import AccuracyCriterion
from mmsls.pruning_index import PruningIndex
from mmsls.scoring.resampling import Resampled
from mmsls.scoring.stability import stability_of


def assured(index: PruningIndex, resampled: Resampled | None) -> PruningIndex:
    """Let an index say how sure its decision is (`provenance`: `stability`, `drop_errors`), where that is known.

    Args:
        index: The decision.
        resampled: The curves that other samples would have given.
    """
    if resampled is None:
        return index
    return index.knowing(
        stability=stability_of(resampled, index.rule, index.curve.chance).as_dict(),
        drop_errors=resampled.drop_errors(index.scope),
    )


def guessing(criterion: Any, labels: np.ndarray) -> dict[str, float]:
    """Return what guessing reaches, in points: `chance` among the classes, and naming the `commonest` class.

    Args:
        criterion: What scored; only one that judges sample by sample counts them so.
        labels: (n,), class numbers. A class of one sample does not count (see `mmsls.scoring.hits`).

    Example:
        >>> from mmsls.criteria import Probe
        >>> guessing(Probe(), np.array([0, 0, 0, 1, 1, 7]))
        {'chance': 50.0, 'commonest': 60.0}
    """
    counts = np.unique(labels, return_counts=True)[1]
    counts = counts[counts >= 2]
    if not isinstance(criterion, AccuracyCriterion) or not len(counts):
        return {}
    return {'chance': 100 / len(counts), 'commonest': round(100 * float(counts.max() / counts.sum()), 2)}
