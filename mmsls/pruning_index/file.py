"""The text of an index file: JSON, one field a line; this version and all older ones are read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Container, Mapping
from typing import Any

from mmsls.files.reading import parse_json
from mmsls.pruning_index.fields import plain_dict
from mmsls.scoring.rule import Rule

FORMAT = 'mmsls-pruning-index'
VERSION, MINOR = 2, 2
"""A release reads its own version and all older ones; of a newer minor version it keeps what it does not know."""
PUBLISHED = {'type': 'SLS'}
"""The criterion of an index of version 1: silhouettes of t-SNE."""
FIELDS = (
    *('backbone', 'adapter', 'base_sha256', 'criterion', 'unit', 'scores'),
    *('rule', 'kept_depths', 'note', 'provenance'),
)
SUBSET = 'kept_blocks'
"""A field only where the kept blocks are not the lowest ones of their stages (since 2.1)."""
CHOSEN = 'chosen'
"""A field only where what is kept was chosen by hand or by a target (since 2.2)."""
FIELDS_1 = (
    *('backbone', 'adapter', 'base_sha256', 'scores', 'alpha', 'scope', 'min_depth', 'reference'),
    *('thresholds', 'kept_depths', 'borderline', 'note', 'provenance'),
)


def check_criterion(criterion: Any) -> dict[str, Any]:
    """Return what made the curve as plain JSON values."""
    plain = plain_dict('criterion', criterion)
    if not (isinstance(plain.get('type'), str) and plain['type']):
        raise ValueError(f"criterion is {criterion!r}; it must hold a type, such as 'SLS'")
    return plain


def to_text(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """Return the file's text: one line a field, so that people and `diff` can read it."""
    names = named(fields)
    content = {'format': FORMAT, 'version': VERSION, 'minor': MINOR, **{name: fields[name] for name in names}, **extra}
    lines = (f'{json.dumps(key)}: {json.dumps(value, allow_nan=False)}' for key, value in content.items())
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def named(content: Container[str]) -> tuple[str, ...]:
    """Return the names of the fields that some content must have: all, and of those that may be left out its own."""
    return (*FIELDS, *(name for name in (SUBSET, CHOSEN) if name in content))


def from_text(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of version 2, those of version 1 translated, and apart what a newer minor version adds.

    Raises:
        ValueError: If the text is cut short, of another format or a newer version, lacks a field or has an unknown one.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f'{error}; copy it again, or score the model anew') from error
    if not isinstance(content, dict):
        raise ValueError(f'holds a {type(content).__name__}, not an object with fields; it is no pruning index')
    found, version = content.pop('format', None), content.pop('version', None)
    if found != FORMAT:
        raise ValueError(f'format is {found!r}, but this release of mmsls reads {FORMAT!r}; score the model anew')
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f'version is {version!r}, but this release of mmsls reads 1 to {VERSION}; update mmsls, or score the model '
            'anew'
        )
    if version == 1:
        return _translated(_exact(content, FIELDS_1, version)), {}
    return _split(content, content.pop('minor', None))


def _split(content: dict[str, Any], minor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set apart what only a newer minor version knows, and say so."""
    if type(minor) is not int or minor < 0:
        raise ValueError(f'minor is {minor!r}; it must be a whole number of at least 0')
    known = named(content)
    extra = {name: value for name, value in content.items() if name not in known} if minor > MINOR else {}
    if extra:
        warnings.warn(
            f'pruning index of version {VERSION}.{minor}: this release knows {VERSION}.{MINOR} and keeps the fields '
            f'{", ".join(sorted(extra))} unread',
            stacklevel=4,
        )
    ours = {name: value for name, value in content.items() if name not in extra}
    return _exact(ours, known, VERSION), extra


def _exact(content: dict[str, Any], names: tuple[str, ...], version: int) -> dict[str, Any]:
    """Return the content, or raise a ValueError if it lacks a field or has one too many."""
    for what, wrong in (
        ('lacks the field', set(names) - set(content)),
        ('has the unknown field', set(content) - set(names)),
    ):
        if wrong:
            raise ValueError(f'{what} {min(wrong)!r}; version {version} has exactly the fields {", ".join(names)}')
    return content


def _translated(old: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of version 1 as version 2 has them; thresholds and borderline blocks follow from the others."""
    new = {
        'criterion': dict(PUBLISHED),
        'unit': 'silhouette',
        'rule': {name: old[name] for name in Rule.options() if name in old},
    }
    return {name: new[name] if name in new else old[name] for name in FIELDS}
