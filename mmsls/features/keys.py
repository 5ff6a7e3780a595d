"""Keys of samples: which record of which data set, and which instance in it; their order is that of the data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

Key = tuple[int, int, int]
"""Number of the innermost data set, of the record in it, and of the instance in the record's ground truth."""


def key_text(key: Key) -> str:
    """Write a key down for hashing: no path, so it is the same on machines that keep the data elsewhere.

    Example:
        >>> key_text((0, 139, 4))
        '0/139#4'
    """
    leaf, record, instance = key
    return f'{leaf}/{record}#{instance}'


def order_hash(keys: Iterable[Key]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 over keys in their order; t-SNE depends on the order of its rows.

    Example:
        >>> order_hash([(0, 1, 0), (0, 2, 0)]) == order_hash([(0, 2, 0), (0, 1, 0)])
        False
    """
    return hashlib.sha256('\n'.join(map(key_text, keys)).encode()).hexdigest()[:16]
