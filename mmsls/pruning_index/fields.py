"""What every field of a foundation must be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mmsls.scoring import BlockId
from mmsls.scoring.curve import is_int
from mmsls.scoring.subset import block_counts

LONGEST = 1000
"""Characters of a name or a path."""
MOST_BLOCKS = 10**6
"""Blocks of a stage."""


def checked(field: str, value: Any, place: str = '') -> Any:
    """Return a field's value as plain data, or raise a ValueError that names place, value and what it must be."""
    right, must = CHECKS[field]
    if not right(value):
        raise ValueError(f'{place or field} is {repr(value)[:200]}; it must be {must}')
    if field == 'adapter':
        return None if value is None else plain_dict(place or field, value)
    if field == 'kept_blocks':
        return tuple((int(stage), int(block)) for stage, block in value)
    if isinstance(value, list | tuple):
        return tuple(item if isinstance(item, str) else int(item) for item in value)
    return int(value) if field == 'embed_dims' else value


def check_agreement(depths: Sequence[int], blocks: Sequence[BlockId], place: str = '') -> None:
    """Raise a ValueError if some kept blocks, where any are named, are not as many of every stage as are kept."""
    stages = 1 + max([len(depths) - 1, *(stage for stage, _ in blocks)])
    if blocks and tuple(depths) != block_counts(blocks, stages):
        raise ValueError(
            f'{place}kept_blocks is {repr(as_lists(tuple(blocks)))[:200]}, but {place}kept_depths is '
            f'{repr(list(depths))[:200]}; they must agree'
        )


def as_lists(value: Any) -> Any:
    """Return a value with lists in the place of tuples."""
    return [as_lists(item) for item in value] if isinstance(value, tuple) else value


def plain_dict(name: str, value: Any) -> dict[str, Any]:
    """Return a config as plain JSON values: tuples turn into lists, numpy's numbers into Python's."""
    if not isinstance(value, Mapping):
        raise ValueError(f'{name} is {value!r}; it must be a mapping of names to plain values')
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False, default=lambda number: number.item()))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'{name} is {value!r}, which JSON cannot hold ({error}); use plain finite values') from error


def is_sha256(value: Any) -> bool:
    """Whether a value is a SHA-256 as 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch('[0-9a-f]{64}', value) is not None


def is_bridge_setting(value: Any) -> bool:
    """Whether a value says which bridges there are: True, False, or a rank of at least 2 (1 equals True)."""
    return isinstance(value, bool) or (is_int(value) and value >= 2)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _are_counts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(is_int(n) and 0 <= n <= MOST_BLOCKS for n in value)


def _are_blocks(value: Any) -> bool:
    right = isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and _are_counts(pair) for pair in value
    )
    return right and all(tuple(lower) < tuple(upper) for lower, upper in pairwise(value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


_COUNTS = (_are_counts, f'a list of whole numbers from 0 to {MOST_BLOCKS}')
_TEXT = (_is_text, f'a text of at most {LONGEST} characters')
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    'type': (lambda value: _is_text(value) and bool(value), 'the name of a registered backbone'),
    'embed_dims': (lambda value: is_int(value) and value >= 1, 'a whole number of at least 1'),
    'depths': _COUNTS,
    'kept_depths': _COUNTS,
    'kept_blocks': (_are_blocks, 'a list of [stage, block], whole numbers from 0 in ascending order'),
    'base_checkpoint': _TEXT,
    'base_sha256': (is_sha256, '64 lower-case hexadecimal digits'),
    'adapter': (lambda value: value is None or isinstance(value, Mapping), 'a mapping of names to plain values'),
    'changed': (_are_texts, 'a list of state-dict keys'),
    'name': _TEXT,
    'bridge': (is_bridge_setting, 'true, false or a rank of at least 2'),
}
"""What every field must be."""
