"""Other criteria whose curves a run leaves beside its own: what each says of the same samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from mmengine.logging import print_log

from mmsls.criteria import Evidence
from mmsls.criteria.choosing import check_block_scores
from mmsls.features.block_scores import block_scores
from mmsls.features.sureness import assured, guessing
from mmsls.parallel.ranks import raise_first
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId, Curve
from mmsls.scoring.curve import POINTS
from mmsls.scoring.resampling import Resampled
from mmsls.scoring.rule import Rule

MAX_DROP, KEEP = 1.0, 0.75
"""What the usual rules read a curve in points, and one that rates single blocks, by."""


@dataclass(frozen=True)
class OtherCurve:
    """What another criterion says of the samples that a run scored.

    Attributes:
        name: The criterion's.
        index: Its curve, read by its usual rule; None where it failed.
        failure: Why it failed; empty where it did not.
        seconds: What it took in this process.
    """

    name: str
    index: PruningIndex | None
    failure: str = ''
    seconds: float = 0.0


def other_curves(
    criteria: Sequence[tuple[dict[str, Any], Any]],
    evidence: Evidence,
    rule: Rule,
    foundation: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> list[OtherCurve]:
    """Return what other criteria say of what was collected. Call it on every rank.

    One that fails is named in the log and in the result, and ends no run.

    Args:
        criteria: What an index records of each, and the criterion.
        evidence: What was collected.
        rule: That of the run; the others are read in its scope, with its `min_depth`.
        foundation: Arguments of `PruningIndex.create` that say what was scored.
        provenance: What the run's index says of its samples.
    """
    return [_other(told, built, evidence, rule, foundation, provenance) for told, built in criteria]


def _other(
    told: dict[str, Any],
    criterion: Any,
    evidence: Evidence,
    rule: Rule,
    foundation: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> OtherCurve:
    name, start = told['type'], monotonic()
    try:
        scores, resampled = _together(criterion, evidence)
        check_block_scores(name, scores)
        index = PruningIndex.create(
            scores=Curve(scores, criterion.unit),
            criterion=told,
            provenance={**provenance, **guessing(criterion, evidence.labels)},
            rule=usual_rule(criterion.kind, criterion.unit, rule),
            **foundation,
        )
        return OtherCurve(name, assured(index, resampled), seconds=monotonic() - start)
    except Exception as error:  # a curve to look at is worth no run
        failure = str(error) if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'
        print_log(f'SLS: the criterion {name} has no curve here: {failure}', 'current', logging.WARNING)
        return OtherCurve(name, None, failure, monotonic() - start)


def _together(criterion: Any, evidence: Evidence) -> tuple[dict[BlockId, float], Resampled | None]:
    """Score the blocks; what fails in one process alone fails in all."""
    found: tuple[dict[BlockId, float], Resampled | None] = ({}, None)
    failure = None
    try:
        found = block_scores(criterion, evidence)
    except Exception as error:
        failure = error
    raise_first(failure)
    return found


def usual_rule(kind: str, unit: str, like: Rule) -> Rule:
    """Return the rule that a criterion's curve is usually read by.

    As published in silhouettes, `max_drop=1` in points, `keep=0.75` of single blocks. Other units have no zero that a
    share could be taken of: up to the best block.

    Args:
        kind: The criterion's kind.
        unit: Its unit.
        like: Gives scope and `min_depth`.

    Example:
        >>> usual_rule('depth', 'points', Rule(scope='stage', min_depth=1)).told
        'max_drop 1 points'
        >>> usual_rule('depth', 'H-score', Rule()).reference
        'peak'
    """
    options: dict[str, Any] = {'scope': like.scope, 'min_depth': like.min_depth}
    if kind == 'importance':
        return Rule(keep=KEEP, **options)
    if unit == POINTS:
        return Rule(max_drop=MAX_DROP, **options)
    return Rule(**options) if unit == 'silhouette' else Rule(alpha=1.0, reference='peak', **options)


def log_others(others: Sequence[OtherCurve]) -> None:
    """Log what each of the other criteria would keep, by its usual rule."""
    for other in others:
        if other.index is not None:
            print_log(f'SLS: {other.name} would keep {other.index.kept_depths} ({other.index.told})', 'current')


def log_times(own: str, seconds: float, others: Sequence[OtherCurve]) -> None:
    """Log what the criteria of a run took, so that nobody has to guess what the others cost.

    Args:
        own: The run's own criterion.
        seconds: What that took.
        others: The others.
    """
    if others:
        told = ', '.join(f'{other.name} {other.seconds:.1f} s' for other in others)
        print_log(f'SLS: scoring took {seconds:.1f} s by {own}; beside it {told}', 'current')


def failures(others: Sequence[OtherCurve]) -> dict[str, str]:
    """Return why criteria have no curve, by name."""
    return {other.name: other.failure for other in others if other.index is None}
