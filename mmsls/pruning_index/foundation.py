"""What a task stands on: backbone, base, adapter, and how much of the backbone is kept. One record, one checker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmsls.pruning_index.fields import as_lists, check_agreement, checked
from mmsls.scoring.curve import BlockId
from mmsls.scoring.subset import kept_numbers, unless_lowest

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
        bridge: Whether linear bridges stand in for the removed blocks; the rank of their maps where that is bounded.
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
    bridge: bool | int = False

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
