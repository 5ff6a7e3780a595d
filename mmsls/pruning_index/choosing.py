"""Choosing what an index keeps: by hand, or by what it may cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mmsls.pruning_index.choice import Choice, check_fits
from mmsls.pruning_index.index import OF_ONE_RULE, PruningIndex
from mmsls.pruning_index.reading import set_aside
from mmsls.scoring.applying import grouped
from mmsls.scoring.candidates import Candidate, candidate, candidates
from mmsls.scoring.curve import is_real
from mmsls.scoring.doubts import counted, errors_of
from mmsls.scoring.walk import ROUNDING


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
    one, kind = candidate(index.curve, kept, like=index.rule), index.criterion['type']
    there = 'says nothing of it' if one.drop is None else f'has {one.value:.4g} there, {one.drop:.4g} below the best'
    choice = chosen or Choice('hand', None, None, f'the word of whoever chose it; the curve of {kind[:100]} {there}')
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


def surely(index: PruningIndex, most: float, errors: float = 1.0) -> PruningIndex:
    """Keep the smallest depth of which what it loses, with standard errors added, is at most so many points.

    Where no depth is that sure, it is the one that keeps most.

    Args:
        index: The index; its `provenance.drop_errors` says how well each drop is known.
        most: Points that may be lost against the best block, of the model or of every stage, as the scope is.
        errors: How many standard errors are added.

    Raises:
        ValueError: If the index knows no such errors, or a number makes no sense.

    Example:
        >>> from mmsls.scoring import Curve
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(3,))
        >>> about = {'drop_errors': [[0.5, 0.3, 0.0]]}
        >>> curve = Curve({(0, 0): 79.2, (0, 1): 79.5, (0, 2): 80.0}, 'points')
        >>> index = PruningIndex.create(scores=curve, backbone=vit, provenance=about, max_drop=1)
        >>> index.kept_depths, surely(index, 1.0).kept_depths, surely(index, 1.0).told
        ((1,), (2,), 'max_drop 0.5 points, scope model, for at most 1 points lost, errors included')
    """
    check_target('sure', errors)
    known = errors_of(index.provenance.get('drop_errors'), index.curve)
    if not known:
        raise ValueError(
            'sure asks for standard errors, and the index has none (provenance.drop_errors); score by a criterion in '
            "points that judges sample by sample ('bridged', 'probe', 'ncm', 'knn'), or decide by max_drop alone"
        )
    asked = index.ruled(index.rule.but(max_drop=most))

    def lost(kept_depths: Sequence[int]) -> float:
        return max(
            max(index.scores[block] for block in group) - index.scores[top] + errors * known[top]
            for group in grouped(list(index.scores), asked.scope)
            if (top := next((b for b in reversed(group) if b[1] < kept_depths[b[0]]), None))
        )

    ruled = ruled_candidates(asked)
    best = next((one for one in reversed(ruled) if lost(one.kept_depths) <= most + ROUNDING), ruled[0])
    assert best.rule is not None
    count, what = counted(index.provenance)
    source = f', from {count} {what}' if count else ''
    rests_on = f'{errors:g} standard error{"s" if errors != 1 else ""} added to what is lost{source}'
    return asked.ruled(best.rule, Choice('sure', most, lost(best.kept_depths), rests_on))


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
    if by == 'sure' and not (is_real(most) and most > 0):
        raise ValueError(f'sure is {most!r}; it must be a number of standard errors above 0, such as 1')
    if by == 'target_latency' and not (is_real(most) and 0 < most <= 1):
        raise ValueError(
            f"target_latency is {most!r}; it must be a share of the full model's time, 0 < target_latency <= 1, such "
            'as 0.7'
        )
