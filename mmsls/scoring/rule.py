"""The pruning rule: from a curve to the number of blocks kept in every stage (standard library only)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmsls.scoring.applying import choose, walk_stages
from mmsls.scoring.curve import POINTS, BlockId, Curve, is_int, is_real
from mmsls.scoring.decision import Decision
from mmsls.scoring.overriding import overridden
from mmsls.scoring.walk import BORDERLINE, BORDERLINE_SHARE

SCOPES = ('model', 'stage')
REFERENCES = ('top', 'peak')


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How many blocks of every stage stay, read from a curve.

    With the blocks numbered 1 (bottom) to N (top), the walk goes down from block N and stops at the first block whose
    score is below `alpha * score_N`; the block above it and all below stay. If no block is below, block 1 alone stays.
    Blocks under the stopping one don't count, even where their scores rise again. A reference score of 0 or less means
    that even the full model does not separate the classes: nothing is pruned, and the decision says why.

    Rule of Han & Tang, ECCV 2024, arXiv 2407.14330 (`scope='model'`, `reference='top'`); the other options are ours.

    With `max_drop` the question is another one, in the unit of the curve: what stays is the smallest depth whose value
    is at most `max_drop` below the best block's. `alpha` and `reference` are kept, but not read.

    Where a curve says what guessing reaches (`Curve.chance`) and no block is above it, nothing is pruned either.

    With `keep` the curve rates single blocks (a criterion of kind `'importance'`): that share of them stays, the most
    important ones wherever they stand. `alpha`, `reference` and `max_drop` are not read.

    Attributes:
        alpha: Share of the reference score that a block must reach to be walked past, 0 < alpha <= 1. A larger alpha
            never keeps fewer blocks.
        scope: `'model'` walks over all blocks of all stages, and may leave upper stages empty; `'stage'` walks every
            stage on its own, relative to that stage's own reference block.
        min_depth: Fewest blocks kept in every stage, in either scope; a stage with fewer blocks is kept whole.
        reference: `'top'` is the published rule. `'peak'` takes the best-scoring block (the topmost of equals) in the
            place of block N: the threshold is `alpha` times its score, the walk starts there, and every block above it
            is removed. It prunes where the score falls off at the top, which makes the published rule keep everything.
        max_drop: Points that may be lost against the best block (of the model, or of every stage), at least 0, such as
            1.0; None: the published rule. Only for curves in points (see `Curve`): a silhouette has none.
        keep: Share of the blocks (of the model, or of every stage) that stay, 0 < keep <= 1, rounded up to whole
            blocks; the `min_depth` most important blocks of every stage stay beyond it. Only for criteria that rate
            single blocks, which need it.

    Raises:
        ValueError: If an option is out of its range, or `max_drop` and `keep` are both set.

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
    max_drop: float | None = None
    keep: float | None = None

    def __post_init__(self) -> None:
        if not is_real(self.alpha) or not 0 < self.alpha <= 1:
            raise ValueError(f'alpha is {self.alpha!r}; it must be a number with 0 < alpha <= 1 (0.3 by default)')
        if self.scope not in SCOPES:
            raise ValueError(f'scope is {self.scope!r}; it must be one of {SCOPES}')
        if not is_int(self.min_depth) or self.min_depth < 0:
            raise ValueError(f'min_depth is {self.min_depth!r}; it must be a whole number of at least 0')
        if self.reference not in REFERENCES:
            raise ValueError(f'reference is {self.reference!r}; it must be one of {REFERENCES}')
        if self.max_drop is not None:
            if not is_real(self.max_drop) or self.max_drop < 0:
                raise ValueError(f'max_drop is {self.max_drop!r}; it must be a number of points of at least 0, or None')
            object.__setattr__(self, 'max_drop', float(self.max_drop))
        if self.keep is not None:
            if not is_real(self.keep) or not 0 < self.keep <= 1:
                raise ValueError(f'keep is {self.keep!r}; it must be a share of the blocks, 0 < keep <= 1, or None')
            if self.max_drop is not None:
                raise ValueError(f'keep is {self.keep!r} and max_drop is {self.max_drop!r}; give one or the other')
            object.__setattr__(self, 'keep', float(self.keep))
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
            Rule(alpha=0.5, scope='stage', min_depth=1, reference='top', max_drop=None, keep=None)
        """
        given = {name: settings[name] for name in cls.options() if settings.get(name) is not None}
        given.setdefault('scope', scope)
        given.setdefault('min_depth', 1 if given['scope'] == 'stage' else 0)
        return cls(**given)

    @property
    def margin(self) -> float:
        """Distance to its threshold up to which a block is borderline: 0.05, or a quarter of `max_drop`."""
        return BORDERLINE if self.max_drop is None else BORDERLINE_SHARE * self.max_drop

    @property
    def told(self) -> str:
        """What the threshold is made of, in words.

        Example:
            >>> Rule().told, Rule(max_drop=1).told, Rule(keep=0.75).told
            ('alpha 0.3', 'max_drop 1 points', 'keep 0.75')
        """
        if self.keep is not None:
            return f'keep {self.keep:g}'
        return f'alpha {self.alpha}' if self.max_drop is None else f'max_drop {self.max_drop:g} {POINTS}'

    def as_dict(self) -> dict[str, Any]:
        """Return the options as a file holds them: `max_drop` and `keep` only where they are set."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def check_unit(self, unit: str) -> None:
        """Refuse a curve that this rule cannot read.

        Raises:
            ValueError: If `max_drop` is set and the curve is not in points.
        """
        if self.max_drop is not None and unit != POINTS:
            raise ValueError(
                f'max_drop is {self.max_drop:g} points, but the curve counts {unit}: score by a criterion in points '
                "('probe', 'ncm' or 'knn'), or decide by alpha"
            )

    def check_kind(self, kind: str, criterion: str) -> None:
        """Refuse a criterion whose curve this rule cannot read.

        Args:
            kind: What it rates, `'depth'` or `'importance'`.
            criterion: Its name, for the error.

        Raises:
            ValueError: If it rates single blocks and `keep` is not set, or depths and it is.
        """
        if kind == 'importance' and self.keep is None:
            raise ValueError(
                f'keep is not set, and criterion {criterion} rates single blocks: say what share of them stays, such '
                'as keep=0.75'
            )
        if kind == 'depth' and self.keep is not None:
            raise ValueError(
                f'keep is {self.keep:g}, and criterion {criterion} rates depths: leave keep out, or decide by alpha or '
                'max_drop'
            )

    def check_stages(self, stages: int, criterion: str) -> None:
        """Refuse a walk over several stages that a criterion rates each on its own.

        Args:
            stages: How many there are.
            criterion: Its name, for the error.

        Raises:
            ValueError: If the scope is `'model'`.
        """
        if self.scope == 'model' and stages > 1:
            raise ValueError(
                f"scope is 'model', and {criterion} rates every stage on its own; leave it out, or set it to 'stage'"
            )

    def but(self, **options: Any) -> Rule:
        """Return a rule with other options for the same curve; None leaves one as it is.

        `alpha` or `reference` end a `max_drop`, and it ends them.

        Raises:
            ValueError: If there is no such option, it is out of its range, or an option comes that a rule of this kind
                does not read.
        """
        unknown = sorted(set(options) - set(self.options()))
        if unknown:
            raise ValueError(f'the rule has no option {unknown[0]!r}; its options are {", ".join(self.options())}')
        rule = Rule(**overridden(vars(self), options))
        if (rule.keep is None) != (self.keep is None):
            raise ValueError(
                'keep reads curves that rate single blocks, alpha and max_drop those that rate depths: this one is '
                f'read by {self.told}; score by a criterion of the other kind'
            )
        return rule

    def decide(self, curve: Curve | Mapping[BlockId, float]) -> Decision:
        """Read a curve.

        Args:
            curve: A criterion's curve; bare numbers are mean silhouettes.

        Raises:
            ValueError: If it is no curve (see `Curve`), or not in the unit of `max_drop`.
        """
        curve = curve if isinstance(curve, Curve) else Curve(curve)
        self.check_unit(curve.unit)
        return choose(self, curve) if self.keep is not None else walk_stages(self, curve)
