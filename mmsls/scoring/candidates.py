"""Every decision that one kind of rule can give from a curve: what there is to choose from (standard library only)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mmsls.scoring.curve import BlockId, Curve
from mmsls.scoring.rule import Rule
from mmsls.scoring.subset import lowest_blocks

DIGITS = 17
"""Decimals beyond which a float has none."""


@dataclass(frozen=True)
class Candidate:
    """Something that could be kept.

    Attributes:
        kept_depths: How many blocks every stage keeps.
        value: The curve at the last kept block, in scope `'stage'` that of the stage that loses most; of single blocks
            the lowest value that is kept. None where the curve says nothing of it.
        drop: How far `value` lies below the best block, of the model or of that stage; None for single blocks, and
            where there is no `value`.
        rule: A setting that gives it; None for the whole model, where none of that kind does.
        subset: The blocks that are kept, where they are not the lowest ones of their stages; else empty.
    """

    kept_depths: tuple[int, ...]
    value: float | None
    drop: float | None
    rule: Rule | None = None
    subset: tuple[BlockId, ...] = ()

    @property
    def kept_blocks(self) -> tuple[BlockId, ...]:
        """Every `(stage, block)` that is kept, bottom first."""
        return self.subset or lowest_blocks(self.kept_depths)


def candidates(curve: Curve, rule: Rule) -> list[Candidate]:
    """Return everything that rules of one kind can keep of a curve, and the whole model, deepest first.

    Args:
        curve: The curve.
        rule: Says the kind: which of `max_drop`, `keep` and `alpha` moves over all its values. Its other options hold.

    Returns:
        At most one for each block and the whole model; each keeps some of the blocks that the one before it keeps, and
        names a setting that is a round number.

    Raises:
        ValueError: If the curve is not in the unit of `max_drop`.

    Example:
        >>> curve = Curve({(0, 0): 47.7, (0, 1): 79.1, (0, 2): 82.0, (0, 3): 79.7}, 'points')
        >>> for found in candidates(curve, Rule(max_drop=1)):
        ...     print(found.kept_depths, found.value, round(found.drop, 1), found.rule and found.rule.max_drop)
        (4,) 79.7 2.3 None
        (3,) 82.0 0.0 0.0
        (2,) 79.1 2.9 3.0
        (1,) 47.7 34.3 35.0
        >>> [found.kept_depths for found in candidates(curve, Rule(alpha=0.5))]
        [(4,), (3,), (2,), (1,)]
    """
    whole = (curve.depths, ())
    found: dict[tuple[tuple[int, ...], tuple[BlockId, ...]], Rule | None] = {whole: None}
    for setting in settings(curve, rule):
        decision = setting.decide(curve)
        kept = decision.kept_depths, decision.subset
        found[kept] = found.get(kept) or setting
    ordered = sorted(found, key=lambda kept: -sum(kept[0]))
    return [candidate(curve, *kept, rule=found[kept], like=rule) for kept in ordered]


def candidate(
    curve: Curve,
    kept_depths: tuple[int, ...],
    subset: tuple[BlockId, ...] = (),
    *,
    rule: Rule | None = None,
    like: Rule,
) -> Candidate:
    """Return what a curve says of some kept blocks, whoever chose them.

    Args:
        curve: The curve.
        kept_depths: Blocks that every stage keeps, no more than it has.
        subset: See `Candidate`.
        rule: See `Candidate`.
        like: A rule of the kind and scope in which the curve is to be read.

    Example:
        >>> curve = Curve({(0, 0): 1.0, (0, 1): 3.0, (1, 0): 2.0, (1, 1): 5.0}, 'points')
        >>> candidate(curve, (1, 2), like=Rule(scope='stage')).drop, candidate(curve, (2, 1), like=Rule()).drop
        (2.0, 3.0)
    """
    if like.keep is not None:
        blocks = subset or lowest_blocks(kept_depths)
        value = min((curve.values[block] for block in blocks), default=None)
        return Candidate(kept_depths, value, None, rule, subset)
    stages = curve.to_lists()
    if like.scope == 'model':
        groups, kept = [[value for stage in stages for value in stage]], [unbroken(kept_depths, curve.depths)]
    else:
        groups, kept = stages, list(kept_depths)
    if 0 in kept or subset:
        return Candidate(kept_depths, None, None, rule, subset)
    drop, value = max((max(group) - group[n - 1], group[n - 1]) for group, n in zip(groups, kept, strict=True))
    return Candidate(kept_depths, value, drop, rule, subset)


def settings(curve: Curve, rule: Rule) -> Iterator[Rule]:
    """Yield rules of the same kind as one, so many that every decision of that kind is among theirs; the deepest first.

    Raises:
        ValueError: If the curve is not in the unit of `max_drop`.
    """
    rule.check_unit(curve.unit)
    groups = [list(curve.values.values())] if rule.scope == 'model' else curve.to_lists()
    if rule.max_drop is not None:
        drops = sorted({max(group) - value for group in groups for value in group} | {0.0})
        for low, high in pairwise([*drops, math.inf]):
            yield rule.but(max_drop=roundest(low, high))
            yield rule.but(max_drop=low)
        return
    name = 'alpha' if rule.keep is None else 'keep'
    shares = {0.0, 1.0} | set(_alphas(groups, rule) if rule.keep is None else _shares(groups))
    for low, high in pairwise(sorted(shares)):
        yield rule.but(**{name: -roundest(-high, -low)})
        yield rule.but(**{name: high})


def _alphas(groups: Sequence[Sequence[float]], rule: Rule) -> Iterator[float]:
    """Yield the alphas up to which the walk passes a block: its share of the reference score."""
    for group in groups:
        reference = group[-1] if rule.reference == 'top' else max(group)
        yield from (value / reference for value in group if 0 < value < reference)


def _shares(groups: Sequence[Sequence[float]]) -> Iterator[float]:
    """Yield the shares that whole blocks make up."""
    for group in groups:
        yield from (count / len(group) for count in range(1, len(group)))


def roundest(low: float, high: float) -> float:
    """Return the number with the fewest decimals in [low, high), which is not empty.

    Example:
        >>> roundest(0.2, 0.4), roundest(0.213, 0.29), roundest(1.25, 7.0), -roundest(-0.75, -0.5)
        (0.2, 0.22, 2.0, 0.7)
    """
    for digits in range(DIGITS):
        found = math.ceil(low * 10**digits) / 10**digits
        if low <= found < high:
            return found
    return low


def unbroken(kept_depths: Sequence[int], depths: Sequence[int]) -> int:
    """Return how many blocks are kept from the bottom up to the first that is not.

    Example:
        >>> unbroken((2, 1, 1), (2, 2, 2)), unbroken((2, 2, 0), (2, 2, 2))
        (3, 4)
    """
    count = 0
    for kept, depth in zip(kept_depths, depths, strict=True):
        count += kept
        if kept < depth:
            break
    return count
