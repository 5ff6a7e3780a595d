"""A rule applied to a curve: the walk over its stages, or the most important of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mmsls.scoring.curve import BlockId, Curve
from mmsls.scoring.decision import Decision
from mmsls.scoring.subset import block_counts, most_important, share_of_blocks, unless_lowest
from mmsls.scoring.walk import FLOAT32, Walk, at_chance, first_within, note_of, walk_down

if TYPE_CHECKING:
    from mmsls.scoring.rule import Rule


def walk_stages(rule: Rule, curve: Curve) -> Decision:
    """Walk down from the top of the model, or of every stage, by `alpha` or `max_drop`."""
    blocks, depths = list(curve.values), curve.depths
    groups = grouped(blocks, rule.scope)
    walks = [walk(rule, group, [curve.values[block] for block in group], curve.chance) for group in groups]
    walked = [one.kept for one in walks] if rule.scope == 'stage' else spread(walks[0].kept, depths)
    kept = tuple(max(keep, min(rule.min_depth, depth)) for keep, depth in zip(walked, depths, strict=True))
    return Decision(
        kept_depths=kept,
        thresholds=tuple(one.threshold for one in walks),
        borderline=tuple(block for one in walks for block in one.borderline),
        note=note_of(walks, kept == depths, rule.min_depth, curve.chance),
    )


def walk(rule: Rule, group: Sequence[BlockId], values: Sequence[float], chance: float | None) -> Walk:
    """Walk over blocks that are read together."""
    if chance is not None and max(values) <= chance + FLOAT32:
        return at_chance(group, values)
    if rule.max_drop is not None:
        return first_within(group, values, rule.max_drop)
    return walk_down(group, values, rule.alpha, rule.reference)


def choose(rule: Rule, curve: Curve) -> Decision:
    """Keep the most important blocks, by `keep`."""
    stages = [{b: v for b, v in curve.values.items() if b[0] == stage} for stage in range(len(curve.depths))]
    groups = [dict(curve.values)] if rule.scope == 'model' else stages
    best = [most_important(group, share_of_blocks(rule.keep or 1, len(group))) for group in groups]
    held = [most_important(stage, rule.min_depth) for stage in stages]
    kept = sorted({block for blocks in (*best, *held) for block in blocks})
    whole = len(kept) == len(curve.values)
    return Decision(
        kept_depths=block_counts(kept, len(stages)),
        thresholds=tuple(min(curve.values[block] for block in blocks) for blocks in best),
        borderline=(),
        note=f'nothing pruned: {rule.told} and min_depth={rule.min_depth} keep every block' if whole else None,
        subset=unless_lowest(kept),
    )


def grouped(blocks: Sequence[BlockId], scope: str) -> list[list[BlockId]]:
    """Return the blocks that are read together: all of them, or each stage's.

    Example:
        >>> grouped([(0, 0), (0, 1), (1, 0)], 'stage')
        [[(0, 0), (0, 1)], [(1, 0)]]
    """
    return [list(blocks)] if scope == 'model' else [list(stage) for _, stage in groupby(blocks, lambda block: block[0])]


def spread(kept: int, depths: Sequence[int]) -> list[int]:
    """Hand `kept` blocks, counted over the whole model from the bottom, out to the stages."""
    return [min(max(kept - sum(depths[:stage]), 0), depth) for stage, depth in enumerate(depths)]
