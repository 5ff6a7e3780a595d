"""The pruning rule: from one score per block to the number of blocks kept in every stage (standard library only)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

BlockId = tuple[int, int]
"""`(stage, block)`, both counted from 0 at the input side; a ViT has one stage."""

RULE_OPTIONS = ('alpha', 'scope', 'min_depth', 'reference')
SCOPES = ('model', 'stage')
REFERENCES = ('top', 'peak')

BORDERLINE = 0.05
"""Distance to its threshold up to which a block is borderline: t-SNE moves a score that much between machines."""

LIKELY_CAUSES = (
    'likely causes: the model is not tuned to this task or its checkpoint was not loaded, the labels are not those of '
    'the samples, there are too few samples per class, or the pooled features lose what tells the classes apart'
)


@dataclass(frozen=True)
class Decision:
    """What the rule says about a table of scores.

    Attributes:
        kept_depths: Blocks kept in every stage, from the bottom.
        thresholds: One threshold per stage in scope `'stage'`, a single one in scope `'model'`; None where the
            reference score is not positive, so there is no threshold and nothing is pruned.
        borderline: Blocks whose score lies within 0.05 of their threshold, in order.
        note: Why nothing was pruned, in the model or in some stage; None where every walk found its threshold and
            blocks were removed.
    """

    kept_depths: tuple[int, ...]
    thresholds: tuple[float | None, ...]
    borderline: tuple[BlockId, ...]
    note: str | None

    @property
    def unseparated(self) -> bool:
        """Whether some reference block does not separate the classes at all, so that there was no threshold."""
        return None in self.thresholds


def choose_depths(
    scores: Mapping[BlockId, float],
    *,
    alpha: float = 0.3,
    scope: str = 'model',
    min_depth: int = 0,
    reference: str = 'top',
) -> tuple[int, ...]:
    """Choose how many blocks of every stage to keep.

    With the blocks numbered 1 (bottom) to N (top), the walk goes down from block N and stops at the first block whose
    score is below `alpha * score_N`; the block above it and all below stay. If no block is below, block 1 alone stays.
    Blocks under the stopping one don't count, even where their scores rise again. A reference score of 0 or less means
    that even the full model does not separate the classes: nothing is pruned, and a warning names the likely causes.

    Rule of Han & Tang, ECCV 2024, arXiv 2407.14330 (`scope='model'`, `reference='top'`); the other options are ours.

    Args:
        scores: Mean silhouette of every block, in [-1, 1]; the keys must form whole stages, counted from `(0, 0)`.
        alpha: Share of the reference score that a block must reach to be walked past, 0 < alpha <= 1. A larger alpha
            never keeps fewer blocks.
        scope: `'model'` walks over all blocks of all stages, and may leave upper stages empty; `'stage'` walks every
            stage on its own, relative to that stage's own reference block.
        min_depth: Fewest blocks kept in every stage, in either scope; a stage with fewer blocks is kept whole.
        reference: `'top'` is the published rule. `'peak'` takes the best-scoring block (the topmost of equals) in the
            place of block N: the threshold is `alpha` times its score, the walk starts there, and every block above it
            is removed. It prunes where the score falls off at the top, which makes the published rule keep everything.

    Returns:
        Number of blocks kept in every stage.

    Raises:
        ValueError: If an argument is out of its range, a score is not a finite number in [-1, 1], or the keys skip a
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
    """
    decision = decide(scores, alpha=alpha, scope=scope, min_depth=min_depth, reference=reference)
    if decision.unseparated:
        warnings.warn(str(decision.note), stacklevel=2)
    return decision.kept_depths


def decide(
    scores: Mapping[BlockId, float],
    *,
    alpha: float = 0.3,
    scope: str = 'model',
    min_depth: int = 0,
    reference: str = 'top',
) -> Decision:
    """Apply the rule of `choose_depths` and return thresholds, borderline blocks and reasons too.

    Args:
        scores: As in `choose_depths`.
        alpha: As in `choose_depths`.
        scope: As in `choose_depths`.
        min_depth: As in `choose_depths`.
        reference: As in `choose_depths`.

    Returns:
        The decision; nothing is logged or warned of.

    Raises:
        ValueError: As in `choose_depths`.

    Example:
        >>> decision = decide({(0, 0): 0.1, (0, 1): 0.2, (0, 2): 0.5}, alpha=0.5)
        >>> decision.kept_depths, decision.thresholds, decision.borderline
        ((3,), (0.25,), ((0, 1),))
        >>> print(decision.note)
        nothing pruned: block (0, 1) scores 0.2000, below the threshold 0.2500, and only the top block lies above it
    """
    check_options(alpha=alpha, scope=scope, min_depth=min_depth, reference=reference)
    table = check_scores(scores)
    depths = stage_depths(table)
    blocks = sorted(table)
    groups = (
        [blocks]
        if scope == 'model'
        else [[block for block in blocks if block[0] == stage] for stage in range(len(depths))]
    )
    walks = [_walk(group, [table[block] for block in group], alpha, reference) for group in groups]
    walked = [walk.kept for walk in walks] if scope == 'stage' else _spread(walks[0].kept, depths)
    kept = tuple(max(keep, min(min_depth, depth)) for keep, depth in zip(walked, depths, strict=True))
    return Decision(
        kept_depths=kept,
        thresholds=tuple(walk.threshold for walk in walks),
        borderline=tuple(block for walk in walks for block in walk.borderline),
        note=_note(walks, kept == depths, min_depth),
    )


def stage_depths(scores: Mapping[BlockId, Any]) -> tuple[int, ...]:
    """Return the number of blocks of every stage, from the `(stage, block)` keys.

    Raises:
        ValueError: If there is no key, a key is not a pair of whole numbers, or a stage or block is skipped.

    Example:
        >>> stage_depths({(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.3})
        (2, 1)
    """
    if not scores:
        raise ValueError('scores is empty; pass one score for every (stage, block) of the backbone')
    for key in scores:
        if not (isinstance(key, tuple) and len(key) == 2 and all(_is_int(part) and part >= 0 for part in key)):
            raise ValueError(
                f'scores has the key {key!r}; keys are (stage, block) pairs of whole numbers, counted from 0'
            )
    depths = [0] * (max(int(stage) for stage, _ in scores) + 1)
    for stage, block in scores:
        depths[stage] = max(depths[stage], int(block) + 1)
    missing = [
        (stage, block)
        for stage, depth in enumerate(depths)
        for block in range(max(depth, 1))
        if (stage, block) not in scores
    ]
    if missing:
        raise ValueError(
            f'scores has no block {missing[0]} but has later ones; pass every block of every stage, from (0, 0) up'
        )
    return tuple(depths)


def check_scores(scores: Mapping[BlockId, float]) -> dict[BlockId, float]:
    """Return the scores as plain numbers in block order, or raise a ValueError that names the first wrong one."""
    stage_depths(scores)
    for block, score in scores.items():
        if not _is_real(score) or not -1 <= score <= 1:  # NaN fails the comparison
            raise ValueError(
                f'score of block {tuple(map(int, block))} is {score!r}; a mean silhouette is a finite number in [-1, 1]'
            )
    return {(int(stage), int(block)): float(scores[stage, block]) for stage, block in sorted(scores)}


def check_options(*, scope: str, min_depth: int, alpha: float = 0.3, reference: str = 'top') -> None:
    """Raise a ValueError that names the first option of the rule that is out of its range."""
    if not _is_real(alpha) or not 0 < alpha <= 1:
        raise ValueError(f'alpha is {alpha!r}; it must be a number with 0 < alpha <= 1 (0.3 by default)')
    if scope not in SCOPES:
        raise ValueError(f'scope is {scope!r}; it must be one of {SCOPES}')
    if not _is_int(min_depth) or min_depth < 0:
        raise ValueError(f'min_depth is {min_depth!r}; it must be a whole number of at least 0')
    if reference not in REFERENCES:
        raise ValueError(f'reference is {reference!r}; it must be one of {REFERENCES}')


@dataclass(frozen=True)
class _Walk:
    """One walk: what it keeps of its group of blocks, and what the note and the marks need."""

    whole: bool
    kept: int
    start: str
    threshold: float | None = None
    stop: str | None = None
    borderline: tuple[BlockId, ...] = ()


def _walk(blocks: Sequence[BlockId], scores: Sequence[float], alpha: float, reference: str) -> _Walk:
    """Walk down one group of blocks, given bottom to top."""
    depth = len(scores)
    start = depth - 1 if reference == 'top' else max(range(depth), key=lambda index: (scores[index], index))
    told = [f'block {block} scores {score:.4f}' for block, score in zip(blocks, scores, strict=True)]
    if scores[start] <= 0:
        return _Walk(whole=True, kept=depth, start=told[start])
    threshold = alpha * scores[start]
    stop = next((index for index in range(start, -1, -1) if scores[index] < threshold), None)
    # `stop` counts from 0, so the block above it, the last one kept, is number stop + 2; without a stop block 1 alone
    # stays.
    kept = 1 if stop is None else stop + 2
    near = tuple(block for block, score in zip(blocks, scores, strict=True) if abs(score - threshold) <= BORDERLINE)
    return _Walk(kept == depth, kept, told[start], threshold, None if stop is None else told[stop], near)


def _spread(kept: int, depths: Sequence[int]) -> list[int]:
    """Hand `kept` blocks, counted over the whole model from the bottom, out to the stages."""
    return [min(max(kept - sum(depths[:stage]), 0), depth) for stage, depth in enumerate(depths)]


def _note(walks: Sequence[_Walk], whole: bool, min_depth: int) -> str | None:
    """Say why nothing was pruned: always where a walk had no threshold, otherwise only where every stage is whole."""
    unseparated = [walk.start for walk in walks if walk.threshold is None]
    if unseparated:
        kept = 'the whole model is kept' if len(walks) == 1 else 'these stages are kept whole'
        return (
            f'{", ".join(unseparated)}: not above 0, so the classes are not separated there and {kept}; {LIKELY_CAUSES}'
        )
    if not whole:
        return None
    return 'nothing pruned: ' + '; '.join(_reason(walk, min_depth) for walk in walks)


def _reason(walk: _Walk, min_depth: int) -> str:
    """Say why one group of blocks with a threshold stays whole."""
    if not walk.whole:
        return f'min_depth={min_depth} keeps what the walk from the top would remove'
    if walk.stop is None:
        return f'{walk.start} and is the only one'
    return f'{walk.stop}, below the threshold {walk.threshold:.4f}, and only the top block lies above it'


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
