"""What a decision in points leaves in doubt, in words: noise above `max_drop`, a model hardly better than guessing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmsls.scoring.applying import grouped
from mmsls.scoring.curve import POINTS, BlockId, Curve, is_int, is_real
from mmsls.scoring.decision import Decision
from mmsls.scoring.rule import Rule
from mmsls.scoring.walk import CAUSES_AT_CHANCE

NEAR = 1.0
"""Points above chance up to which a model hardly does better than guessing."""


def decided(rule: Rule, curve: Curve, about: Mapping[str, Any]) -> Decision:
    """Let a rule decide, and note what is in doubt.

    Args:
        rule: The rule.
        curve: What it reads.
        about: What an index knows of the curve (`provenance`): `drop_errors`, `commonest`, `samples`, `images`,
            `asked_max_drop`. What is not there, or in another form, is in no doubt.
    """
    decision = rule.decide(curve)
    if curve.unit != POINTS or rule.keep is not None:
        return decision
    notes = (decision.note, near_chance(curve, decision, about), in_noise(curve, rule, decision, about))
    return replace(decision, note='; '.join(filter(None, notes)) or None)


def near_chance(curve: Curve, decision: Decision, about: Mapping[str, Any]) -> str | None:
    """Say that even the best block hardly does better than guessing, if so: by less than a point or two errors."""
    if curve.chance is None or decision.unseparated:
        return None
    level = max(curve.chance, points_of(about, 'commonest') or 0.0)
    by_class = level > curve.chance
    count = counted(about)[0]
    error = math.sqrt(level * (100 - level) / count) if count else 0.0
    best = max(curve.values, key=lambda block: curve.values[block])
    if curve.values[best] > level + max(NEAR, 2 * error):
        return None
    told = 'what naming the commonest class every time gives' if by_class else 'chance'
    than = f'hardly more than {told} ({level:.2f})' if level else 'hardly more than 0'
    return (
        f'even the best block, {best}, has {curve.values[best]:.2f} {POINTS}, {than}, so the depth says little; '
        f'{CAUSES_AT_CHANCE}'
    )


def in_noise(curve: Curve, rule: Rule, decision: Decision, about: Mapping[str, Any]) -> str | None:
    """Say that what the kept depth loses is known less well than `max_drop` asks for, if so."""
    errors = errors_of(about.get('drop_errors'), curve)
    if not errors or rule.max_drop is None:
        return None
    asked = points_of(about, 'asked_max_drop') or rule.max_drop
    tops = []
    for group in grouped(list(curve.values), rule.scope):
        kept = [block for block in group if block[1] < decision.kept_depths[block[0]]]
        tops += [(kept[-1], group)] if kept else []
    top, group = max(tops, key=lambda found: errors[found[0]])
    if errors[top] <= asked:
        return None
    best = max(curve.values[block] for block in group)
    count, what = counted(about)
    deeper = next(
        (block for block in group if block > top and best - curve.values[block] + errors[block] <= asked), None
    )
    depths = list(decision.kept_depths)
    if deeper is not None:
        depths[deeper[0]] = deeper[1] + 1
    return (
        f'max_drop {asked:g} is below the noise: block {top} loses {best - curve.values[top]:.2f} {POINTS} against the '
        f'best one, with a standard error of {errors[top]:.2f}{f" ({count} {what})" if count else ""}; score more '
        f'images, set max_drop to {math.ceil(10 * errors[top]) / 10:g} or more'
        f'{"" if deeper is None else f", or keep the deeper kept_depths={tuple(depths)}"}'
    )


def counted(about: Mapping[str, Any]) -> tuple[int, str]:
    """Return how many samples or images a curve is of, 0 where that is not known, and what they are."""
    for what in ('samples', 'images'):
        if is_int(about.get(what)) and about[what] > 0:
            return about[what], what
    return 0, ''


def errors_of(recorded: Any, curve: Curve) -> dict[BlockId, float]:
    """Return the standard error of every block's drop; none where a file holds no such lists."""
    shaped = isinstance(recorded, list) and all(isinstance(stage, list) for stage in recorded)
    if not shaped or tuple(map(len, recorded)) != curve.depths:
        return {}
    errors = {(s, b): error for s, stage in enumerate(recorded) for b, error in enumerate(stage)}
    return errors if all(map(is_real, errors.values())) else {}


def points_of(about: Mapping[str, Any], name: str) -> float | None:
    """Return what an index knows in points; None where it holds no such number.

    Example:
        >>> points_of({'chance': 10}, 'chance'), points_of({'chance': 'low'}, 'chance'), points_of({}, 'chance')
        (10.0, None, None)
    """
    found: Any = about.get(name)
    return float(found) if is_real(found) and 0 <= found <= 100 else None
