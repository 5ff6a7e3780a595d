"""Checks of the fields that say which backbone, base and adapter something stands on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mmsls.scoring.curve import is_int

FINGERPRINT = ('type', 'embed_dims', 'depths')


def check_criterion(criterion: Any) -> dict[str, Any]:
    """Return what made the curve as plain JSON values."""
    plain = plain_dict('criterion', criterion)
    if not (isinstance(plain.get('type'), str) and plain['type']):
        raise ValueError(f"criterion is {criterion!r}; it must hold a type, such as 'SLS'")
    return plain


def check_fingerprint(fingerprint: Any) -> dict[str, Any]:
    """Return the fingerprint of a backbone as plain JSON values."""
    if not isinstance(fingerprint, Mapping) or set(fingerprint) != set(FINGERPRINT):
        raise ValueError(f'backbone is {fingerprint!r}; it must have exactly the fields {", ".join(FINGERPRINT)}')
    kind, width, depths = (fingerprint[name] for name in FINGERPRINT)
    if not (isinstance(kind, str) and kind):
        raise ValueError(f'backbone.type is {kind!r}; it must be the name of a registered backbone')
    if not is_count(width):
        raise ValueError(f'backbone.embed_dims is {width!r}; it must be a whole number of at least 1')
    if not (isinstance(depths, list | tuple) and depths and all(map(is_count, depths))):
        raise ValueError(f'backbone.depths is {depths!r}; it must be a list of whole numbers of at least 1')
    return {'type': kind, 'embed_dims': int(width), 'depths': [int(depth) for depth in depths]}


def check_sha256(digest: Any) -> str | None:
    """Return the digest, or raise a ValueError if it is neither None nor 64 hexadecimal digits."""
    if digest is not None and not (isinstance(digest, str) and re.fullmatch('[0-9a-f]{64}', digest)):
        raise ValueError(f'base_sha256 is {digest!r}; it must be 64 lower-case hexadecimal digits or null')
    return digest


def plain_dict(name: str, value: Any) -> dict[str, Any]:
    """Return a config as plain JSON values: tuples turn into lists, numpy's numbers into Python's."""
    if not isinstance(value, Mapping):
        raise ValueError(f'{name} is {value!r}; it must be a mapping of names to plain values')
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False, default=lambda number: number.item()))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'{name} is {value!r}, which JSON cannot hold ({error}); use plain finite values') from error


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1."""
    return is_int(value) and int(value) >= 1
