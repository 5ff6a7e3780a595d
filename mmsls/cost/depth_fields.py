"""What every field of a file of costs must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmsls.pruning_index.fields import checked
from mmsls.pruning_index.foundation import FINGERPRINT, fingerprinted
from mmsls.scoring.curve import is_int, is_real

FORMAT, VERSION = 'mmsls.depth_costs', 1
LONGEST = 1000
"""Characters of a text."""


def checked_costs(content: Any, fields: Sequence[str], row_fields: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a file of costs, every one of them checked.

    Args:
        content: What the file holds.
        fields: Their names, besides `format` and `version`.
        row_fields: Those of a row.

    Raises:
        ValueError: Naming the field, its value and what it must be.
    """
    names = ('format', 'version', *fields)
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f'it must be an object with exactly the fields {", ".join(names)}')
    for field, (right, must) in _CHECKS.items():
        if not right(content[field]):
            raise ValueError(f'{field} is {repr(content[field])[:100]}; it must be {must}')
    backbone = fingerprinted(content['backbone']).as_dict(FINGERPRINT)
    rows = [
        checked_row(f'rows[{number}]', row, row_fields, backbone['depths'])
        for number, row in enumerate(content['rows'])
    ]
    if list(rows[0]['kept_depths']) != backbone['depths']:
        raise ValueError(
            f'rows[0].kept_depths is {list(rows[0]["kept_depths"])}; it must be the full {backbone["depths"]}'
        )
    if len({row['kept_depths'] for row in rows}) != len(rows):
        raise ValueError('rows names a kept_depths twice; it must name each once')
    return {name: content[name] for name in fields} | {'backbone': backbone, 'rows': rows}


def checked_row(place: str, row: Any, names: Sequence[str], depths: Sequence[int]) -> dict[str, Any]:
    """Return one row of a file of costs, checked."""
    if not isinstance(row, dict) or set(row) != set(names):
        raise ValueError(f'{place} is {repr(row)[:100]}; it must have exactly the fields {", ".join(names)}')
    kept = checked('kept_depths', row['kept_depths'], f'{place}.kept_depths')
    if len(kept) != len(depths) or any(n > full for n, full in zip(kept, depths, strict=True)):
        raise ValueError(f'{place}.kept_depths is {list(kept)}; it must fit the depths {list(depths)}')
    for name in ('parameters', 'macs'):
        if not is_int(row[name]) or row[name] < 0:
            raise ValueError(f'{place}.{name} is {row[name]!r}; it must be a whole number of at least 0')
    if not is_real(row['seconds']) or row['seconds'] <= 0:
        raise ValueError(f'{place}.seconds is {row["seconds"]!r}; it must be a number above 0')
    return {**row, 'kept_depths': kept, 'seconds': float(row['seconds'])}


def check_backbone(measured: Mapping[str, Any], wanted: Mapping[str, Any], mend: str = '') -> None:
    """Refuse costs of another backbone than the one that is wanted.

    Args:
        measured: Its fingerprint.
        wanted: That of the index.
        mend: What to do, for the error.

    Raises:
        ValueError: With the first field of the fingerprint that differs, and both values.
    """
    ours, theirs = (fingerprinted(one).as_dict(FINGERPRINT) for one in (measured, wanted))
    for name in FINGERPRINT:
        if ours[name] != theirs[name]:
            raise ValueError(f'backbone.{name} is {ours[name]!r}, but {theirs[name]!r} in the index{mend}')


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    'format': (lambda value: value == FORMAT, repr(FORMAT)),
    'version': (lambda value: is_int(value) and value == VERSION, f'{VERSION}, which this release reads'),
    'machine': (_is_text, f'a text of at most {LONGEST} characters'),
    'threads': (lambda value: is_int(value) and value >= 1, 'a whole number of at least 1'),
    'image': (
        lambda value: isinstance(value, list) and len(value) == 2 and all(is_int(n) and n >= 1 for n in value),
        '[height, width] in pixels',
    ),
    'weights': (_is_text, f'a text of at most {LONGEST} characters'),
    'rows': (lambda value: isinstance(value, list) and bool(value), 'a list of at least one depth'),
}
"""What the fields must be; `backbone` and the rows are checked on their own."""
