"""A curve: one number for every block, in a unit of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

BlockId = tuple[int, int]
"""`(stage, block)`, both counted from 0 at the input side; a ViT has one stage."""

POINTS = 'points'
"""The unit of curves that count a metric in percent, such as accuracy: `Rule(max_drop=)` reads these alone."""
BOUNDS = {'silhouette': (-1.0, 1.0), POINTS: (0.0, 100.0)}
"""Lowest and highest value of the units that have any; a mean silhouette, and a metric in percent."""


@dataclass(frozen=True)
class Curve:
    """What a criterion says of every block; a larger value is better.

    Attributes:
        values: Number of every `(stage, block)`, in block order.
        unit: What it counts: `'silhouette'`, `'points'` (of a metric, in percent), or any other word for a number
            without bounds.
        chance: Points that guessing reaches; None where that is not known. Not above it, nothing can be read off.

    Raises:
        ValueError: If the keys skip a stage or a block, or a value is not finite or out of its unit's bounds.

    Example:
        >>> curve = Curve({(0, 1): 0.3, (0, 0): 0.1})
        >>> curve.values, curve.depths
        ({(0, 0): 0.1, (0, 1): 0.3}, (2,))
    """

    values: Mapping[BlockId, float]
    unit: str = 'silhouette'
    chance: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str) or not self.unit:
            raise ValueError(f"unit is {self.unit!r}; it must be a word such as 'silhouette' or 'points'")
        object.__setattr__(self, 'values', check_values(self.values, self.unit))

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks of every stage."""
        return stage_depths(self.values)

    def to_lists(self) -> list[list[float]]:
        """Return the values stage by stage, bottom first."""
        return [[self.values[stage, block] for block in range(depth)] for stage, depth in enumerate(self.depths)]

    @classmethod
    def from_lists(cls, stages: Any, unit: str = 'silhouette') -> Curve:
        """Make a curve of lists such as `to_lists` gives.

        Raises:
            ValueError: If it is no list of lists of numbers.
        """
        if not (isinstance(stages, list) and stages and all(isinstance(blocks, list) and blocks for blocks in stages)):
            raise ValueError(f'scores is {stages!r}; it must be a list of scores for every stage, like [[0.1, 0.3]]')
        return cls({(s, b): value for s, blocks in enumerate(stages) for b, value in enumerate(blocks)}, unit)


def stage_depths(values: Mapping[BlockId, Any]) -> tuple[int, ...]:
    """Return the number of blocks of every stage, from the `(stage, block)` keys.

    Raises:
        ValueError: If there is no key, a key is not a pair of whole numbers, or a stage or block is skipped.

    Example:
        >>> stage_depths({(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.3})
        (2, 1)
    """
    if not values:
        raise ValueError('scores is empty; pass one score for every (stage, block) of the backbone')
    for key in values:
        if not (isinstance(key, tuple) and len(key) == 2 and all(is_int(part) and part >= 0 for part in key)):
            raise ValueError(
                f'scores has the key {key!r}; keys are (stage, block) pairs of whole numbers, counted from 0'
            )
    depths = [0] * (max(int(stage) for stage, _ in values) + 1)
    for stage, block in values:
        depths[stage] = max(depths[stage], int(block) + 1)
    expected = ((stage, block) for stage, depth in enumerate(depths) for block in range(max(depth, 1)))
    missing = next((block for block in expected if block not in values), None)
    if missing is not None:
        raise ValueError(
            f'scores has no block {missing} but has later ones; pass every block of every stage, from (0, 0) up'
        )
    return tuple(depths)


def check_values(values: Mapping[BlockId, float], unit: str) -> dict[BlockId, float]:
    """Return the values as plain numbers in block order, or raise a ValueError that names the first wrong one."""
    stage_depths(values)
    low, high = BOUNDS.get(unit, (-math.inf, math.inf))
    for block, value in values.items():
        if not is_real(value) or not low <= value <= high:
            what = (
                'a mean silhouette is a finite number in [-1, 1]'
                if unit == 'silhouette'
                else f'in {unit} it must be finite'
            )
            within = f' and in [{low:g}, {high:g}]' if unit == POINTS else ''
            raise ValueError(f'score of block {tuple(map(int, block))} is {value!r}; {what}{within}')
    return {(int(stage), int(block)): float(values[stage, block]) for stage, block in sorted(values)}


def is_int(value: Any) -> bool:
    """Whether a value is a whole number, and neither True nor False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a finite number, and neither True nor False."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
