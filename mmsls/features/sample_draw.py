"""Which samples a bounded bank keeps: equally many per class, drawn by a seeded hash of their keys."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from mmsls.features.keys import Key, key_text


def key_rank(key: Key, seed: int) -> tuple[int, Key]:
    """Give a key its place in a seeded draw: the same in every process, whatever Python's own hash seed is.

    Returns:
        A 64-bit hash of seed and key, and the key itself to break ties.
    """
    text = f'{seed}|{key_text(key)}'
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), 'big'), key


def fill_level(counts: Collection[int], budget: int) -> int | None:
    """Find the largest q with sum(min(count, q)) <= budget, as water finds its level; None if everything fits.

    Example:
        >>> fill_level([100, 3, 50], budget=23)
        10
        >>> fill_level([5, 3], budget=8) is None
        True
    """
    left = budget
    for position, count in enumerate(sorted(counts)):
        higher = len(counts) - position  # this class and all larger ones share what is left
        if count * higher > left:
            return left // higher
        left -= count
    return None


def draw_keys(
    keys: Mapping[int, Collection[Key]], *, budget: int, seed: int, cap: int | None = None
) -> tuple[dict[int, list[Key]], int | None]:
    """Keep per class the q keys that come first in the seeded draw, q being the class-balanced fill level.

    Args:
        keys: Label -> distinct keys of that class.
        budget: Number of keys that may stay in all.
        seed: Seed of the draw.
        cap: The level returned by an earlier selection that these keys have already been through.

    Returns:
        The keys that stay, per label in draw order, and the level (None while nothing was ever dropped).

    Raises:
        ValueError: If there are more classes than the budget has places.
    """
    level = fill_level([len(members) for members in keys.values()], budget)
    if level == 0:
        raise ValueError(
            f'max_samples={budget} leaves no sample for some of the {len(keys)} classes: raise max_samples to at least '
            f'{len(keys)}, better ten times that'
        )
    level = min((value for value in (level, cap) if value is not None), default=None)
    drawn = {label: sorted(members, key=lambda key: key_rank(key, seed)) for label, members in keys.items()}
    return {label: members[:level] for label, members in drawn.items()}, level
