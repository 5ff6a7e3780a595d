"""What a rule finds in one group of blocks, and the words for it: the published walk, and a drop in points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmsls.scoring.curve import BlockId

BORDERLINE = 0.05
"""Distance to its threshold up to which a block is borderline: t-SNE moves a score that much between machines."""
BORDERLINE_SHARE = 0.25
"""The same under `max_drop`, as a share of it: a block nearer than that could as well lie on the other side."""
ROUNDING = 1e-9
"""Points by which a value may miss a threshold that it equals on paper."""
FLOAT32 = 1e-4
"""The same for what the hosts count in single precision."""

LIKELY_CAUSES = (
    'likely causes: the model is not tuned to this task or its checkpoint was not loaded, the labels are not those of '
    'the samples, there are too few samples per class, or the pooled features lose what tells the classes apart'
)
CAUSES_AT_CHANCE = (
    'likely causes: the model is not tuned to this task, its base or checkpoint was not loaded, or the labels are not '
    'those of the images'
)


@dataclass(frozen=True)
class Walk:
    """What was found in one group of blocks.

    Attributes:
        whole: Whether it keeps all of them.
        kept: How many it keeps, from the bottom.
        start: Where it began, in words.
        threshold: What a block must reach; None where there is none.
        stop: Where it stopped, in words; None where no block was below.
        borderline: Blocks close to the threshold: see `Rule.margin`.
    """

    whole: bool
    kept: int
    start: str
    threshold: float | None = None
    stop: str | None = None
    borderline: tuple[BlockId, ...] = ()


def walk_down(blocks: Sequence[BlockId], scores: Sequence[float], alpha: float, reference: str) -> Walk:
    """Walk down one group of blocks, given bottom to top."""
    depth = len(scores)
    start = depth - 1 if reference == 'top' else max(range(depth), key=lambda index: (scores[index], index))
    told = [f'block {block} scores {score:.4f}' for block, score in zip(blocks, scores, strict=True)]
    if scores[start] <= 0:
        return Walk(whole=True, kept=depth, start=told[start])
    threshold = alpha * scores[start]
    stop = next((index for index in range(start, -1, -1) if scores[index] < threshold), None)
    # `stop` counts from 0, so the block above it, the last one kept, is number stop + 2; without a stop block 1 alone
    # stays.
    kept = 1 if stop is None else stop + 2
    near = tuple(block for block, score in zip(blocks, scores, strict=True) if abs(score - threshold) <= BORDERLINE)
    return Walk(kept == depth, kept, told[start], threshold, None if stop is None else told[stop], near)


def at_chance(blocks: Sequence[BlockId], values: Sequence[float]) -> Walk:
    """Keep a group of blocks, given bottom to top, of which none does better than guessing."""
    best = max(range(len(values)), key=lambda index: values[index])
    return Walk(whole=True, kept=len(values), start=f'block {blocks[best]} scores {values[best]:.4f}')


def first_within(blocks: Sequence[BlockId], values: Sequence[float], max_drop: float) -> Walk:
    """Find the lowest block of a group, given bottom to top, that is at most `max_drop` below the best one."""
    depth, best = len(values), max(range(len(values)), key=lambda index: values[index])
    told = [f'block {block} scores {value:.4f}' for block, value in zip(blocks, values, strict=True)]
    threshold = values[best] - max_drop
    first = next(index for index, value in enumerate(values) if value >= threshold - ROUNDING)
    margin = BORDERLINE_SHARE * max_drop
    near = tuple(block for block, value in zip(blocks, values, strict=True) if abs(value - threshold) < margin)
    return Walk(first + 1 == depth, first + 1, told[best], threshold, told[first - 1] if first else None, near)


def note_of(walks: Sequence[Walk], whole: bool, min_depth: int, chance: float | None = None) -> str | None:
    """Say why nothing was pruned: always where a walk had no threshold, otherwise only where every stage is whole."""
    unseparated = [walk.start for walk in walks if walk.threshold is None]
    if unseparated:
        kept = 'the whole model is kept' if len(walks) == 1 else 'these stages are kept whole'
        if chance is not None:
            level = f'chance ({chance:g})' if chance else '0'
            found = f'{", ".join(unseparated)}: not above {level}'
            return f'{found}, so no depth can be read off and {kept}; {CAUSES_AT_CHANCE}'
        return (
            f'{", ".join(unseparated)}: not above 0, so the classes are not separated there and {kept}; {LIKELY_CAUSES}'
        )
    if not whole:
        return None
    return 'nothing pruned: ' + '; '.join(_reason(walk, min_depth) for walk in walks)


def _reason(walk: Walk, min_depth: int) -> str:
    """Say why one group of blocks with a threshold stays whole."""
    if not walk.whole:
        return f'min_depth={min_depth} keeps what the walk from the top would remove'
    if walk.stop is None:
        return f'{walk.start} and is the only one'
    return f'{walk.stop}, below the threshold {walk.threshold:.4f}, and only the top block lies above it'
