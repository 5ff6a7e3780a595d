"""What a criterion is, what it may look at, and which blocks follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from mmengine.registry import Registry

from mmsls.backbones import PrunedBackbone
from mmsls.scoring import BlockId, choose_depths

CRITERIA = Registry('criterion', scope='mmsls', locations=['mmsls.criteria'])


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at: the tuned model, and what one pass over the training images recorded.

    Attributes:
        model: The tuned model at full depth, in eval mode.
        backbone: Its backbone.
        batches: The training images again, batch by batch in random order, as the model's `data_preprocessor` takes them.
        features: Per block, (n, d): what SLS scores.
        labels: (n,).
        seed: Of whatever a criterion draws.
    """

    model: Any
    backbone: PrunedBackbone
    batches: Iterable[Any]
    features: Mapping[BlockId, np.ndarray]
    labels: np.ndarray
    seed: int = 0


class Criterion(Protocol):
    """What gives every block a number; a larger one says that the block matters more.

    Attributes:
        kind: `'importance'`: of the block itself, so that the least important ones can go wherever they are.
            `'depth'`: how good the features are up to this block, so that, as in SLS, all blocks above a depth go.
    """

    kind: Literal['importance', 'depth']

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""


def kept_blocks(
    criterion: Criterion, scores: Mapping[BlockId, float], *, count: int, **decision: Any
) -> tuple[BlockId, ...]:
    """Return the blocks that a criterion keeps, bottom first.

    Args:
        criterion: Where the scores come from; its kind decides how they are used.
        scores: Its number for every block.
        count: How many blocks a criterion of kind `'importance'` keeps.
        **decision: `alpha`, `scope`, `min_depth`, `reference` of the walk, for a criterion of kind `'depth'`, which finds its own depth.

    Raises:
        ValueError: If the count is not between 1 and the number of blocks.

    Example:
        >>> from mmsls.criteria import Random
        >>> kept_blocks(Random(), {(0, 0): 0.9, (0, 1): 0.1, (0, 2): 0.5}, count=2)
        ((0, 0), (0, 2))
    """
    if not 1 <= count <= len(scores):
        raise ValueError(f'count must be between 1 and the {len(scores)} blocks, got {count}')
    if criterion.kind == 'depth':
        depths = choose_depths(scores, **decision)
        return tuple((stage, block) for stage, depth in enumerate(depths) for block in range(depth))
    best = sorted(scores, key=lambda block: (-scores[block], block))[:count]
    return tuple(sorted(best))


def check_block_scores(name: str, scores: Mapping[BlockId, float]) -> None:
    """Refuse scores that say nothing.

    Raises:
        ValueError: If one is NaN.
    """
    wrong = [block for block, score in scores.items() if np.isnan(score)]
    if wrong:
        raise ValueError(
            f'criterion {name}: the score of block {wrong[0]} is NaN; check that the training did not diverge'
        )
