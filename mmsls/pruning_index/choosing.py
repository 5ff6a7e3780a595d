"""Choosing what an index keeps: by hand, or by what it may cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mmsls.pruning_index.choice import Choice, check_fits
from mmsls.pruning_index.index import OF_ONE_RULE, PruningIndex
from mmsls.pruning_index.reading import set_aside
from mmsls.scoring.candidates import Candidate, candidates
from mmsls.scoring.curve import is_real


def by_hand(index: PruningIndex, kept_depths: Sequence[int], chosen: Choice | None = None) -> PruningIndex:
    """Keep the lowest blocks of every stage, whatever the rule says.

    Args:
        index: The index.
        kept_depths: How many.
        chosen: How that was chosen, where a file may say so (see `read_decision`); None: by hand.

    Raises:
        ValueError: If the backbone cannot keep them.

    Example:
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(3,))
        >>> index = PruningIndex.create(scores={(0, 0): 0.0, (0, 1): 0.1, (0, 2): 0.3}, backbone=vit)
        >>> by_hand(index, [1]).kept_depths, by_hand(index, [1]).told
        ((1,), 'by hand')
    """
    kept = check_fits(kept_depths, index.foundation.depths)
    provenance = {name: value for name, value in index.provenance.items() if name not in OF_ONE_RULE}
    choice = chosen or Choice('hand', None, None, "nothing but the word of who chose it; the curve is the index's")
    return replace(index, decision=set_aside(kept), provenance=provenance, chosen=choice)


def to_cost(
    index: PruningIndex, by: str, most: float, costs: Mapping[tuple[int, ...], float], rests_on: str
) -> PruningIndex:
    """Keep as much as may be had for a cost: the strictest setting of the index's kind of rule that reaches it.

    Where none does, it is the cheapest one (`chosen.met` is False then).

    Args:
        index: The index.
        by: `'max_params'` or `'target_latency'`.
        most: What it may cost: parameters, or a share of the whole model's time.
        costs: What every candidate's depths cost.
        rests_on: Where the costs come from.

    Raises:
        ValueError: If `most` makes no sense.

    Example:
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(3,))
        >>> index = PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.2, (0, 2): 0.3}, backbone=vit)
        >>> costs = {(3,): 1.0, (2,): 0.7, (1,): 0.4}
        >>> [to_cost(index, 'target_latency', most, costs, 'a guess').kept_depths for most in (1.0, 0.7, 0.6, 0.1)]
        [(3,), (2,), (1,), (1,)]
    """
    check_target(by, most)
    ruled = ruled_candidates(index)
    within = [one for one in ruled if costs[one.kept_depths] <= most]
    best = within[0] if within else min(ruled, key=lambda one: costs[one.kept_depths])
    assert best.rule is not None
    return index.ruled(best.rule, Choice(by, most, costs[best.kept_depths], rests_on))


def ruled_candidates(index: PruningIndex) -> list[Candidate]:
    """Return what the index's kind of rule can keep, deepest first."""
    return [one for one in candidates(index.curve, index.rule) if one.rule is not None]


def check_target(by: str, most: float) -> None:
    """Refuse a target that makes no sense.

    Raises:
        ValueError: Naming it and what it must be.
    """
    if by == 'max_params' and not (is_real(most) and most >= 1):
        raise ValueError(f'max_params is {most!r}; it must be a number of parameters, such as 4000000 or 4M')
    if by == 'target_latency' and not (is_real(most) and 0 < most <= 1):
        raise ValueError(
            f"target_latency is {most!r}; it must be a share of the full model's time, 0 < target_latency <= 1, such "
            'as 0.7'
        )
