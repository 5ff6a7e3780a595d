"""Options of a rule in the place of others: who names one way to read a curve ends the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READINGS = {'alpha': 'alpha', 'reference': 'alpha', 'max_drop': 'max_drop', 'keep': 'keep'}
"""The three ways to read a curve, by the options that only one of them reads: name one, and the others end."""


def overridden(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others in their place; None overrides nothing.

    Who names `alpha` or `reference`, `max_drop` or `keep` wants the rule to read a curve that way: what reads it in
    another way goes from the settings (`alpha` and `reference`, which always have a value, stay unread).

    Raises:
        ValueError: If options of two ways override together.

    Example:
        >>> overridden({'max_drop': 1.0, 'seed': 0}, {'alpha': 0.5, 'seed': None})
        {'seed': 0, 'alpha': 0.5}
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    named = {READINGS[name]: name for name in given if name in READINGS}
    if len(named) > 1:
        last = 'keep' if 'keep' in named else 'max_drop'
        other = next(name for way, name in named.items() if way != last)
        unread = 'neither alpha nor reference' if last == 'max_drop' else 'neither alpha, reference nor max_drop'
        raise ValueError(
            f'{last} is {given[last]!r} and {other} is {given[other]!r}; {last} reads {unread}: give one or the other'
        )
    ended = {way for way in ('max_drop', 'keep') if named and way not in named}
    return {name: value for name, value in settings.items() if name not in ended} | given
