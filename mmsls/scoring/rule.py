"""The pruning rule: from a curve to the number of blocks kept in every stage (standard library only)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from mmsls.scoring.curve import BlockId, Curve, is_int, is_real
from mmsls.scoring.walk import note_of, walk_down

SCOPES = ('model', 'stage')
REFERENCES = ('top', 'peak')


@dataclass(frozen=True)
class Decision:
    """What a rule says about a curve.

    Attributes:
        kept_depths: Blocks kept in every stage, from the bottom.
        thresholds: One threshold per stage in scope `'stage'`, a single one in scope `'model'`; None where the
            reference score is not positive, so there is no threshold and nothing is pruned.
        borderline: Blocks whose score lies within 0.05 of their threshold, in order.
        note: Why nothing was pruned, in the model or in some stage; None where every walk found its threshold and
            blocks were removed.
    """

    kept_depths: tuple[int, ...]
    thresholds: tuple[float | None, ...]
    borderline: tuple[BlockId, ...]
    note: str | None

    @property
    def unseparated(self) -> bool:
        """Whether some reference block does not separate the classes at all, so that there was no threshold."""
        return None in self.thresholds


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How many blocks of every stage stay, read from a curve.

    With the blocks numbered 1 (bottom) to N (top), the walk goes down from block N and stops at the first block whose
    score is below `alpha * score_N`; the block above it and all below stay. If no block is below, block 1 alone stays.
    Blocks under the stopping one don't count, even where their scores rise again. A reference score of 0 or less means
    that even the full model does not separate the classes: nothing is pruned, and the decision says why.

    Rule of Han & Tang, ECCV 2024, arXiv 2407.14330 (`scope='model'`, `reference='top'`); the other options are ours.

    Attributes:
        alpha: Share of the reference score that a block must reach to be walked past, 0 < alpha <= 1. A larger alpha
            never keeps fewer blocks.
        scope: `'model'` walks over all blocks of all stages, and may leave upper stages empty; `'stage'` walks every
            stage on its own, relative to that stage's own reference block.
        min_depth: Fewest blocks kept in every stage, in either scope; a stage with fewer blocks is kept whole.
        reference: `'top'` is the published rule. `'peak'` takes the best-scoring block (the topmost of equals) in the
            place of block N: the threshold is `alpha` times its score, the walk starts there, and every block above it
            is removed. It prunes where the score falls off at the top, which makes the published rule keep everything.

    Raises:
        ValueError: If an option is out of its range.

    Example:
        >>> decision = Rule(alpha=0.5).decide({(0, 0): 0.1, (0, 1): 0.2, (0, 2): 0.5})
        >>> decision.kept_depths, decision.thresholds, decision.borderline
        ((3,), (0.25,), ((0, 1),))
        >>> print(decision.note)
        nothing pruned: block (0, 1) scores 0.2000, below the threshold 0.2500, and only the top block lies above it
    """

    alpha: float = 0.3
    scope: str = 'model'
    min_depth: int = 0
    reference: str = 'top'

    def __post_init__(self) -> None:
        if not is_real(self.alpha) or not 0 < self.alpha <= 1:
            raise ValueError(f'alpha is {self.alpha!r}; it must be a number with 0 < alpha <= 1 (0.3 by default)')
        if self.scope not in SCOPES:
            raise ValueError(f'scope is {self.scope!r}; it must be one of {SCOPES}')
        if not is_int(self.min_depth) or self.min_depth < 0:
            raise ValueError(f'min_depth is {self.min_depth!r}; it must be a whole number of at least 0')
        if self.reference not in REFERENCES:
            raise ValueError(f'reference is {self.reference!r}; it must be one of {REFERENCES}')
        # numpy's numbers are not JSON
        object.__setattr__(self, 'alpha', float(self.alpha))
        object.__setattr__(self, 'min_depth', int(self.min_depth))

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Return the names of what can be set."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls, settings: Mapping[str, Any], scope: str = 'model') -> Rule:
        """Return the rule of some settings; others among them are left out, and so is what is None.

        Args:
            settings: Options by name, such as a hook's arguments.
            scope: What holds where they name none. Scope `'stage'` keeps one block per stage unless they say otherwise.

        Raises:
            ValueError: If an option is out of its range.

        Example:
            >>> Rule.of({'alpha': 0.5, 'seed': 0, 'reference': None}, scope='stage')
            Rule(alpha=0.5, scope='stage', min_depth=1, reference='top')
        """
        given = {name: settings[name] for name in cls.options() if settings.get(name) is not None}
        given.setdefault('scope', scope)
        given.setdefault('min_depth', 1 if given['scope'] == 'stage' else 0)
        return cls(**given)

    def but(self, **options: Any) -> Rule:
        """Return a rule with other options; None leaves one as it is.

        Raises:
            ValueError: If there is no such option, or it is out of its range.
        """
        unknown = sorted(set(options) - set(self.options()))
        if unknown:
            raise ValueError(f'the rule has no option {unknown[0]!r}; its options are {", ".join(self.options())}')
        return replace(self, **{name: value for name, value in options.items() if value is not None})

    def decide(self, curve: Curve | Mapping[BlockId, float]) -> Decision:
        """Read a curve.

        Args:
            curve: A criterion's curve; bare numbers are mean silhouettes.

        Raises:
            ValueError: If it is no curve (see `Curve`).
        """
        curve = curve if isinstance(curve, Curve) else Curve(curve)
        blocks, depths = list(curve.values), curve.depths
        groups = [blocks] if self.scope == 'model' else [[b for b in blocks if b[0] == s] for s in range(len(depths))]
        walks = [
            walk_down(group, [curve.values[block] for block in group], self.alpha, self.reference) for group in groups
        ]
        walked = [walk.kept for walk in walks] if self.scope == 'stage' else spread(walks[0].kept, depths)
        kept = tuple(max(keep, min(self.min_depth, depth)) for keep, depth in zip(walked, depths, strict=True))
        return Decision(
            kept_depths=kept,
            thresholds=tuple(walk.threshold for walk in walks),
            borderline=tuple(block for walk in walks for block in walk.borderline),
            note=note_of(walks, kept == depths, self.min_depth),
        )


def choose_depths(scores: Mapping[BlockId, float], **options: Any) -> tuple[int, ...]:
    """Choose how many blocks of every stage to keep: the published rule, unless options say otherwise.

    Args:
        scores: Mean silhouette of every block, in [-1, 1]; the keys must form whole stages, counted from `(0, 0)`.
        **options: Those of `Rule`: `alpha=0.3`, `scope='model'`, `min_depth=0`, `reference='top'`.

    Returns:
        Number of blocks kept in every stage. Where a reference block does not separate the classes nothing is pruned,
        and a warning names the likely causes.

    Raises:
        ValueError: If an option is out of its range, a score is not a finite number in [-1, 1], or the keys skip a
            stage or a block.

    Example:
        >>> scores = {(0, 0): 0.02, (0, 1): 0.05, (0, 2): 0.2, (0, 3): 0.3, (0, 4): 0.4}
        >>> choose_depths(scores, alpha=0.3)  # threshold 0.12: the walk stops at (0, 1)
        (3,)
        >>> choose_depths(scores, alpha=0.6)  # threshold 0.24: it stops at (0, 2)
        (4,)
        >>> falling = {(0, 0): 0.0, (0, 1): 0.5, (0, 2): 0.05, (0, 3): 0.2}
        >>> choose_depths(falling), choose_depths(falling, reference='peak')
        ((4,), (2,))
        >>> stages = {(0, 0): 0.1, (0, 1): 0.1, (1, 0): 0.3, (1, 1): 0.4, (1, 2): 0.5}
        >>> choose_depths(stages), choose_depths(stages, scope='stage'), choose_depths(stages, min_depth=2)
        ((2, 1), (1, 1), (2, 2))
    """
    decision = Rule(**options).decide(scores)
    if decision.unseparated:
        warnings.warn(str(decision.note), stacklevel=2)
    return decision.kept_depths


def spread(kept: int, depths: Sequence[int]) -> list[int]:
    """Hand `kept` blocks, counted over the whole model from the bottom, out to the stages."""
    return [min(max(kept - sum(depths[:stage]), 0), depth) for stage, depth in enumerate(depths)]
