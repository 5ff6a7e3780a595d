"""Depths straight from scores, for whoever needs no index."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from mmsls.scoring.curve import BlockId, Curve
from mmsls.scoring.rule import Rule


def choose_depths(scores: Curve | Mapping[BlockId, float], **options: Any) -> tuple[int, ...]:
    """Choose how many blocks of every stage to keep: the published rule, unless options say otherwise.

    Args:
        scores: Mean silhouette of every block, in [-1, 1], or a `Curve` of another unit; the keys must form whole
            stages, counted from `(0, 0)`.
        **options: Those of `Rule`: `alpha=0.3`, `scope='model'`, `min_depth=0`, `reference='top'`, `max_drop=None`.
            `keep` chooses blocks, and gives no depths (`Rule.decide`).

    Returns:
        Number of blocks kept in every stage. Where a reference block does not separate the classes nothing is pruned,
        and a warning names the likely causes.

    Raises:
        ValueError: If an option is out of its range, a score is not a finite number in [-1, 1], or the keys skip a
            stage or a block.

    Example:
        >>> scores = {(0, 0): 0.02, (0, 1): 0.05, (0, 2): 0.2, (0, 3): 0.3, (0, 4): 0.4}
        >>> choose_depths(scores, alpha=0.3)  # threshold 0.12: the walk stops at (0, 1)
        (3,)
        >>> choose_depths(scores, alpha=0.6)  # threshold 0.24: it stops at (0, 2)
        (4,)
        >>> falling = {(0, 0): 0.0, (0, 1): 0.5, (0, 2): 0.05, (0, 3): 0.2}
        >>> choose_depths(falling), choose_depths(falling, reference='peak')
        ((4,), (2,))
        >>> stages = {(0, 0): 0.1, (0, 1): 0.1, (1, 0): 0.3, (1, 1): 0.4, (1, 2): 0.5}
        >>> choose_depths(stages), choose_depths(stages, scope='stage'), choose_depths(stages, min_depth=2)
        ((2, 1), (1, 1), (2, 2))
        >>> accuracy = Curve({(0, 0): 47.7, (0, 1): 79.1, (0, 2): 82.0, (0, 3): 79.7}, 'points')
        >>> choose_depths(accuracy, max_drop=1.0), choose_depths(accuracy, max_drop=3.0)
        ((3,), (2,))
    """
    rule = Rule(**options)
    rule.check_kind('depth', 'choose_depths')
    decision = rule.decide(scores)
    if decision.unseparated:
        warnings.warn(str(decision.note), stacklevel=2)
    return decision.kept_depths
