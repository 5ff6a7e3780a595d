"""Why an index keeps what it keeps, where nobody set the rule: by hand, or to reach a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mmsls.pruning_index.fields import LONGEST
from mmsls.scoring.curve import is_int, is_real

WAYS = {
    'hand': 'by hand',
    'max_params': 'for at most {asked:,.0f} parameters',
    'target_latency': 'for at most {asked:g} of the time',
    'sure': 'for at most {asked:g} points lost, errors included',
    'verify': 'for at most {asked:g} points lost, tried out',
}
"""How something may be chosen, and the words for it."""


@dataclass(frozen=True)
class Choice:
    """How what is kept was chosen.

    Attributes:
        by: `'hand'`: named block by block, whatever the rule says. `'max_params'`, `'target_latency'`, `'sure'`,
            `'verify'`: by the strictest setting of the rule that reaches a target.
        asked: The target: parameters of the model, share of the full model's time, points that may be lost (`'sure'`:
            standard errors included). None by hand.
        reached: The same of what is kept. None by hand.
        rests_on: What the answer rests on, in words.

    Raises:
        ValueError: If a field is wrong; the message names it, its value and what it must be.

    Example:
        >>> choice = Choice('target_latency', 0.7, 0.74, 'a measurement')
        >>> choice.told, choice.met
        ('for at most 0.7 of the time', False)
        >>> Choice('luck', 1, 1, '')
        Traceback (most recent call last):
        ...
        ValueError: chosen.by is 'luck'; it must be one of hand, max_params, target_latency, sure, verify
    """

    by: str
    asked: float | None
    reached: float | None
    rests_on: str

    def __post_init__(self) -> None:
        if not (isinstance(self.by, str) and self.by in WAYS):
            raise ValueError(f'chosen.by is {repr(self.by)[:100]}; it must be one of {", ".join(WAYS)}')
        for name in ('asked', 'reached'):
            value = getattr(self, name)
            if (value is None) != self.by_hand or not (value is None or is_real(value)):
                must = 'null, since it is by hand' if self.by_hand else 'a finite number'
                raise ValueError(f'chosen.{name} is {repr(value)[:100]}; it must be {must}')
        if not isinstance(self.rests_on, str) or len(self.rests_on) > LONGEST:
            raise ValueError(
                f'chosen.rests_on is {repr(self.rests_on)[:100]}; it must be a text of at most {LONGEST} characters'
            )

    @property
    def by_hand(self) -> bool:
        """Whether no rule gave it."""
        return self.by == 'hand'

    @property
    def met(self) -> bool:
        """Whether the target was reached; what is chosen by hand has none."""
        return self.asked is None or self.reached is None or self.reached <= self.asked

    @property
    def told(self) -> str:
        """The choice in words."""
        return WAYS[self.by].format(asked=self.asked)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a file holds them."""
        return asdict(self)

    @classmethod
    def of(cls, content: Any) -> Choice:
        """Check what a file holds.

        Raises:
            ValueError: As the class does, or if a field is missing or unknown.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(content, dict) or set(content) != set(names):
            raise ValueError(f'chosen is {repr(content)[:200]}; it must have exactly the fields {", ".join(names)}')
        return cls(**content)


def check_fits(kept_depths: Sequence[int], depths: Sequence[int]) -> tuple[int, ...]:
    """Return depths chosen by hand, or raise a ValueError if a backbone cannot keep them.

    Example:
        >>> check_fits([2, 1], (2, 6))
        (2, 1)
        >>> check_fits([2, 7], (2, 6))
        Traceback (most recent call last):
        ...
        ValueError: kept_depths is [2, 7]; it must be 2 whole numbers, one per stage, each from 0 to the depth of ...
    """
    right = len(kept_depths) == len(depths) and all(is_int(kept) for kept in kept_depths)
    if (
        not right
        or not any(kept_depths)
        or any(not 0 <= n <= full for n, full in zip(kept_depths, depths, strict=True))
    ):
        number = '1 whole number' if len(depths) == 1 else f'{len(depths)} whole numbers'
        raise ValueError(
            f'kept_depths is {repr(list(kept_depths))[:200]}; it must be {number}, one per stage, each from 0 to the '
            f'depth of its stage {list(depths)}, and not all 0'
        )
    return tuple(int(kept) for kept in kept_depths)
