"""How sure a decision is: what the rule would keep had other samples of the same kind been drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmsls.scoring.curve import POINTS, BlockId, Curve, is_real
from mmsls.scoring.rule import Rule

ROUNDS = 500
"""Bootstraps: a share of a half is then known to 2 points."""
STABLE = 0.9
"""Share of the bootstraps that must keep what was decided."""
MOST = 8
"""Kept depths that a file holds, the most frequent ones."""

Depths = tuple[int, ...]


@dataclass(frozen=True)
class Stability:
    """What a rule keeps of bootstrapped curves (Efron, 1979): samples drawn with replacement, the same for every block.

    Samples count as independent of each other. Where many come from one image or one video, the truth is less sure.

    Attributes:
        decided: Kept depths of the curve itself.
        shares: Share of the bootstraps by kept depths, the most frequent first.
        rounds: Number of bootstraps.
    """

    decided: Depths
    shares: Mapping[Depths, float]
    rounds: int

    @property
    def stable(self) -> bool:
        """Whether at least 90 % of the bootstraps keep what was decided."""
        return self.shares.get(self.decided, 0.0) >= STABLE

    @property
    def between(self) -> tuple[Depths, ...]:
        """The two kept depths that come most often, the shallower first; one where all bootstraps keep the same."""
        return tuple(sorted(list(self.shares)[:2], key=lambda depths: (sum(depths), depths)))

    def as_dict(self) -> dict[str, Any]:
        """Return what an index records: `rounds`, `stable`, `between`, and `shares` by depths such as `'2-2-5-2'`."""
        return {
            'rounds': self.rounds,
            'stable': self.stable,
            'between': [list(depths) for depths in self.between],
            'shares': {name_of(depths): round(share, 4) for depths, share in list(self.shares.items())[:MOST]},
        }


def bootstrap(hits: Mapping[BlockId, ArrayLike], rule: Rule, *, rounds: int = ROUNDS, seed: int = 0) -> Stability:
    """Let a rule decide on bootstrapped curves in points.

    Args:
        hits: Of every `(stage, block)`, (n,): whether each of the same n samples is right (see `mmsls.scoring.hits`).
        rule: What reads the curves.
        rounds: Number of bootstraps, at least 1.
        seed: Of the drawing.

    Raises:
        ValueError: If there is no sample, or the blocks judge different numbers of them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sure = {(0, block): rng.random(400) < share for block, share in enumerate((0.2, 0.9, 0.9))}
        >>> bootstrap(sure, Rule(max_drop=10)).as_dict()
        {'rounds': 500, 'stable': True, 'between': [[2]], 'shares': {'2': 1.0}}
    """
    judged = {block: np.asarray(found, dtype=np.float64) for block, found in hits.items()}
    shapes = {array.shape for array in judged.values()}
    if len(shapes) != 1 or not (count := min(shapes)[0]):
        raise ValueError(f'hits have shapes {sorted(shapes)}; every block must judge the same samples, at least one')
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    curves = np.stack([np.full(count, 1.0), *draws]) @ np.stack(list(judged.values()), axis=1) * (100 / count)
    curves = curves.clip(0, 100)  # rounding alone could leave the bounds of points
    decided, *kept = (rule.decide(Curve(dict(zip(judged, row, strict=True)), POINTS)).kept_depths for row in curves)
    return Stability(decided, {depths: times / rounds for depths, times in Counter(kept).most_common()}, rounds)


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
    return f'{"sure" if sure else "not sure"}: of {recorded.get("rounds")} bootstraps {told}{mend}'
