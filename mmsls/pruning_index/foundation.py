"""What a task stands on: backbone, base, adapter, and how much of the backbone is kept. One record, one checker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from mmsls.scoring.curve import BlockId, is_int
from mmsls.scoring.subset import block_counts, kept_numbers, unless_lowest

FINGERPRINT = ('type', 'embed_dims', 'depths')
"""What tells one kind of backbone from another."""
IDENTITY = ('base_sha256', 'kept_depths', 'kept_blocks', 'adapter', 'changed', 'bridge')
"""What a backbone writes into its state dict."""
DESCRIPTION = ('base_checkpoint', 'base_sha256', 'adapter', 'depths', 'kept_depths', 'kept_blocks', 'bridge')
"""What the `meta` of a slim checkpoint says."""
NAMED = ('name', *DESCRIPTION)
"""What the manifest of a task folder and the `meta` of a merged checkpoint say."""
OPTIONAL = {'changed': (), 'bridge': False, 'kept_blocks': ()}
"""Fields that a file leaves out where there is nothing to say, and what holds then."""
LONGEST = 1000
"""Characters of a name or a path."""
MOST_BLOCKS = 10**6
"""Blocks of a stage."""


@dataclass(frozen=True)
class Foundation:
    """What a task stands on; a file holds some of the fields, the others are empty then.

    One made by `of` is checked. A backbone's own is what the backbone is.

    Attributes:
        type: Family of the backbone.
        embed_dims: Width of its first stage.
        depths: Blocks of every stage at full depth.
        kept_depths: How many blocks of every stage are kept: the lowest ones, unless `kept_blocks` names others.
        kept_blocks: `(stage, block)` at full depth of every block that is kept, in order, where they are not the lowest
            ones of their stages; else empty.
        base_checkpoint: Where the frozen base lay.
        base_sha256: SHA-256 of the base, 64 hexadecimal digits.
        adapter: Adapter config, or None.
        changed: State-dict keys of the base whose tensors are the task's.
        name: Dotted name of the backbone in the model.
        bridge: Whether linear bridges stand in for the removed blocks.
    """

    type: str = ''
    embed_dims: int = 0
    depths: tuple[int, ...] = ()
    kept_depths: tuple[int, ...] = ()
    kept_blocks: tuple[BlockId, ...] = ()
    base_checkpoint: str | None = None
    base_sha256: str | None = None
    adapter: dict[str, Any] | None = None
    changed: tuple[str, ...] = ()
    name: str = ''
    bridge: bool = False

    def as_dict(self, fields: Sequence[str]) -> dict[str, Any]:
        """Return some fields as files hold them, tuples as lists.

        Example:
            >>> Foundation(type='ViT', embed_dims=192, depths=(12,)).as_dict(FINGERPRINT)
            {'type': 'ViT', 'embed_dims': 192, 'depths': [12]}
        """
        found = {name: getattr(self, name) for name in fields}
        found = {name: value for name, value in found.items() if name not in OPTIONAL or value != OPTIONAL[name]}
        return {name: as_lists(value) for name, value in found.items()}

    def numbers(self) -> list[Sequence[int]]:
        """Return the numbers, at full depth, of the blocks that every stage keeps, bottom first."""
        return kept_numbers(self.kept_depths, self.kept_blocks)

    def pruning(self) -> dict[str, Any]:
        """Return the argument of a backbone that keeps the same blocks.

        Example:
            >>> Foundation(kept_depths=(2,)).pruning(), Foundation(kept_depths=(1,), kept_blocks=((0, 3),)).pruning()
            ({'kept_depths': (2,)}, {'kept_blocks': ((0, 3),)})
        """
        name = 'kept_blocks' if self.kept_blocks else 'kept_depths'
        return {name: getattr(self, name)}

    @property
    def told(self) -> str:
        """What is kept, as the argument of a backbone is written.

        Example:
            >>> Foundation(kept_depths=(2, 1)).told, Foundation(kept_depths=(3,)).told
            ('kept_depths=(2, 1)', 'kept_depths=3')
        """
        name, value = next(iter(self.pruning().items()))
        return f'{name}={value[0] if name == "kept_depths" and len(value) == 1 else value}'

    @classmethod
    def of(cls, content: Any, fields: Sequence[str], where: str) -> Foundation:
        """Check some fields of what a file or a caller gives; whatever else that holds is left out.

        Args:
            content: A mapping with the fields.
            fields: Their names.
            where: What the content is, for the error.

        Raises:
            ValueError: Naming the field, its value and what it must be.

        Example:
            >>> Foundation.of({'type': 'ViT', 'embed_dims': 0, 'depths': [12]}, FINGERPRINT, 'backbone')
            Traceback (most recent call last):
            ...
            ValueError: backbone.embed_dims is 0; it must be a whole number of at least 1
        """
        if not isinstance(content, Mapping):
            raise ValueError(f'{where} is {repr(content)[:100]}; it must have the fields {", ".join(fields)}')
        missing = sorted(set(fields) - set(content) - set(OPTIONAL))
        if missing:
            raise ValueError(f'{where} lacks {", ".join(missing)}')
        found = cls(**{name: checked(name, content[name], f'{where}.{name}') for name in fields if name in content})
        check_agreement(found.kept_depths, found.kept_blocks, f'{where}.')
        return replace(found, kept_blocks=unless_lowest(found.kept_blocks))


def fingerprinted(fingerprint: Any) -> Foundation:
    """Check the fingerprint of a backbone; it holds nothing else."""
    if not isinstance(fingerprint, Mapping) or set(fingerprint) != set(FINGERPRINT):
        raise ValueError(f'backbone is {fingerprint!r}; it must have exactly the fields {", ".join(FINGERPRINT)}')
    return Foundation.of(fingerprint, FINGERPRINT, 'backbone')


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
    'bridge': (lambda value: isinstance(value, bool), 'true or false'),
}
"""What every field must be."""
