"""Which blocks stay: the lowest ones of every stage, or the most important ones wherever they stand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from mmsls.scoring.curve import BlockId

ROUNDING = 1e-9
"""Blocks by which a share may miss a whole number that it is on paper: 0.7 of 10 blocks are 7."""


def lowest_blocks(depths: Sequence[int]) -> tuple[BlockId, ...]:
    """Return the lowest blocks of every stage, so many of each, bottom first.

    Example:
        >>> lowest_blocks((2, 0, 1))
        ((0, 0), (0, 1), (2, 0))
    """
    return tuple((stage, block) for stage, depth in enumerate(depths) for block in range(depth))


def block_counts(blocks: Iterable[BlockId], stages: int) -> tuple[int, ...]:
    """Return how many of some blocks every stage has.

    Example:
        >>> block_counts([(0, 1), (2, 0), (2, 5)], stages=3)
        (1, 0, 2)
    """
    found = Counter(stage for stage, _ in blocks)
    return tuple(found[stage] for stage in range(stages))


def unless_lowest(blocks: Sequence[BlockId]) -> tuple[BlockId, ...]:
    """Return blocks, which are in order, or nothing where they are the lowest ones: their counts say all then.

    Example:
        >>> unless_lowest([(0, 0), (0, 2)]), unless_lowest([(0, 0), (0, 1)])
        (((0, 0), (0, 2)), ())
    """
    gaps = (block and (stage, block - 1) != below for below, (stage, block) in pairwise([(-1, -1), *blocks]))
    return tuple(blocks) if any(gaps) else ()


def kept_numbers(depths: Sequence[int], blocks: Sequence[BlockId] = ()) -> list[Sequence[int]]:
    """Return the numbers, at full depth, of the blocks that every stage keeps, bottom first.

    Args:
        depths: How many every stage keeps.
        blocks: Which ones, in order; none named: the lowest.

    Example:
        >>> kept_numbers((2, 1)), kept_numbers((2, 1), [(0, 0), (0, 3), (1, 1)])
        ([range(0, 2), range(0, 1)], [(0, 3), (1,)])
    """
    if not blocks:
        return [range(depth) for depth in depths]
    return [tuple(block for of, block in blocks if of == stage) for stage in range(len(depths))]


def most_important(values: Mapping[BlockId, float], count: int) -> tuple[BlockId, ...]:
    """Return the blocks with the highest values, bottom first; of equals the lower ones.

    Example:
        >>> most_important({(0, 0): 0.1, (0, 1): 0.9, (1, 0): 0.5, (1, 1): 0.5}, 2)
        ((0, 1), (1, 0))
    """
    return tuple(sorted(sorted(values, key=lambda block: (-values[block], block))[:count]))


def share_of_blocks(keep: float, blocks: int) -> int:
    """Return how many blocks make up at least a share of some, and never none.

    Example:
        >>> [share_of_blocks(keep, 10) for keep in (0.7, 0.71, 0.01, 1.0)]
        [7, 8, 1, 10]
    """
    return max(1, math.ceil(keep * blocks - ROUNDING))
