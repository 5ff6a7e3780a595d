"""How sure a decision is: what the rule would keep had other samples of the same kind been drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmsls.scoring.curve import POINTS, Curve, is_real
from mmsls.scoring.resampling import BOOTSTRAPS, Resampled
from mmsls.scoring.rule import Rule

STABLE = 0.9
"""Share of the rounds that must keep what was decided."""
MOST = 8
"""Kept depths that a file holds, the most frequent ones."""

Depths = tuple[int, ...]


@dataclass(frozen=True)
class Stability:
    """What a rule keeps of the curves that other samples would have given.

    Samples count as independent of each other. Where many come from one image or one video, the truth is less sure.

    Attributes:
        decided: Kept depths of the curve itself.
        shares: Share of the rounds by kept depths, the most frequent first.
        rounds: Number of rounds.
        drawn: What a round is, in words.
    """

    decided: Depths
    shares: Mapping[Depths, float]
    rounds: int
    drawn: str = BOOTSTRAPS

    @property
    def stable(self) -> bool:
        """Whether at least 90 % of the rounds keep what was decided."""
        return self.shares.get(self.decided, 0.0) >= STABLE

    @property
    def between(self) -> tuple[Depths, ...]:
        """The two kept depths that come most often, the shallower first; one where all rounds keep the same."""
        return tuple(sorted(list(self.shares)[:2], key=lambda depths: (sum(depths), depths)))

    def as_dict(self) -> dict[str, Any]:
        """Return what an index records: `rounds`, `stable`, `between`, and `shares` by depths such as `'2-2-5-2'`.

        Rounds that are no bootstraps are named (`drawn`).
        """
        return {
            'rounds': self.rounds,
            **({} if self.drawn == BOOTSTRAPS else {'drawn': self.drawn}),
            'stable': self.stable,
            'between': [list(depths) for depths in self.between],
            'shares': {name_of(depths): round(share, 4) for depths, share in list(self.shares.items())[:MOST]},
        }


def stability_of(resampled: Resampled, rule: Rule, chance: float | None = None) -> Stability:
    """Let a rule decide on curves that other samples would have given.

    Args:
        resampled: The curves.
        rule: What reads them.
        chance: As for `Curve`.

    Example:
        >>> from mmsls.scoring.resampling import bootstraps
        >>> sure = {(0, 0): [0, 1, 0, 1], (0, 1): [1, 1, 1, 1], (0, 2): [1, 1, 1, 1]}
        >>> stability_of(bootstraps(sure), Rule(max_drop=0)).as_dict()
        {'rounds': 500, 'stable': True, 'between': [[1], [2]], 'shares': {'2': 0.948, '1': 0.052}}
    """
    decided, *kept = (
        rule.decide(Curve(dict(zip(resampled.blocks, row, strict=True)), POINTS, chance)).kept_depths
        for row in (resampled.whole, *resampled.others)
    )
    shares = {depths: times / len(kept) for depths, times in Counter(kept).most_common()}
    return Stability(decided, shares, len(kept), resampled.drawn)


def name_of(depths: Depths) -> str:
    """Return kept depths as a file names them.

    Example:
        >>> name_of((2, 2, 5, 2))
        '2-2-5-2'
    """
    return '-'.join(map(str, depths))


def stability_line(recorded: Any) -> str | None:
    """Say in one line what an index records of stability; None where it records none.

    Example:
        >>> stability_line({'rounds': 500, 'stable': False, 'shares': {'8': 0.62, '9': 0.3, '7': 0.08}})
        'not sure: of 500 bootstraps 62 % keep 8, 30 % keep 9; score more samples, or keep the deeper one'
    """
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get('shares'), Mapping):
        return None
    told = ', '.join(
        f'{100 * share:.0f} % keep {depths}' for depths, share in [*recorded['shares'].items()][:2] if is_real(share)
    )
    sure = recorded.get('stable') is True
    mend = '' if sure else '; score more samples, or keep the deeper one'
    drawn = f'{recorded.get("rounds")} {recorded.get("drawn", BOOTSTRAPS)}'
    return f'{"sure" if sure else "not sure"}: of {drawn} {told}{mend}'
