"""What a backbone hands to its neck and head, before and after pruning."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

from torch import nn

from mmsls.backbones.base import PrunedBackbone


def checked_outputs(out_indices: Sequence[int], depth: int, what: str = 'blocks') -> list[int]:
    """Return the distinct blocks (ViT) or stages (Swin) of `out_indices`, ascending, as the hosts put them out.

    The hosts' ViT drops an index that is no block without a word, and the head then fails on a missing feature.

    Args:
        out_indices: Their numbers, 0-based.
        depth: How many there are at full depth.
        what: What they are called in the error.

    Raises:
        ValueError: If one is not there, or none is named.

    Example:
        >>> checked_outputs((11, 5, 5), depth=12)
        [5, 11]
    """
    wrong = [index for index in out_indices if not 0 <= index < depth]
    if wrong or not out_indices:
        raise ValueError(
            f'out_indices must name {what} 0 to {depth - 1}, as this backbone has {depth}, got {tuple(out_indices)}: '
            'take as many as the head asks for, each in that range'
        )
    return sorted(set(out_indices))


def places_below(wanted: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Return where blocks stand among the kept ones: themselves, or the nearest kept block below, or the lowest.

    What lies above the last kept block gets the places above it, as if only those were removed.

    Args:
        wanted: Blocks at full depth, ascending.
        numbers: The kept ones, ascending, at least one.

    Example:
        >>> places_below([2, 5, 8, 11], numbers=[1, 2, 4, 8, 9])
        [1, 2, 3, 6]
        >>> places_below([2, 5, 8, 11], numbers=range(8))
        [2, 5, 8, 11]
    """
    last = numbers[-1]
    return [len(numbers) - 1 + block - last if block > last else max(bisect(numbers, block) - 1, 0) for block in wanted]


def remapped_outputs(wanted: Sequence[int], kept: int) -> list[int]:
    """Replace removed blocks by the last kept ones; the number of outputs stays, so that the head fits.

    Kept blocks stay where they are. The removed ones share the blocks above the highest of those, the topmost going to
    the last block; where these are too few, a block comes several times.

    Args:
        wanted: Blocks to put out, 0-based, ascending.
        kept: Number of blocks kept, at least 1.

    Returns:
        As many blocks, not descending.

    Example:
        >>> remapped_outputs([2, 5, 8, 11], kept=8)
        [2, 5, 6, 7]
        >>> remapped_outputs([2, 5, 8, 11], kept=7)
        [2, 5, 6, 6]
        >>> remapped_outputs([2, 5, 8, 11], kept=6)
        [2, 5, 5, 5]
    """
    last = kept - 1
    surviving = [index for index in wanted if index <= last]
    lowest = min(surviving[-1] + 1, last) if surviving else 0
    missing = len(wanted) - len(surviving)
    return surviving + [max(last - below, lowest) for below in reversed(range(missing))]


class BlockOutputs(tuple):
    """A backbone's outputs; asking for one that is not there says what there is (a bare tuple's error names neither).

    Args:
        outputs: Features, one per output.
        blocks: What they are outputs of, for the error.
    """

    blocks: Sequence[int]

    def __new__(cls, outputs: Iterable[Any], blocks: Sequence[int] = ()) -> BlockOutputs:
        """Make the tuple; code that copies or casts tuples calls this with the outputs alone."""
        self = super().__new__(cls, outputs)
        self.blocks = blocks
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        try:
            return super().__getitem__(key)
        except IndexError as error:
            raise IndexError(
                f'the head asks for output {key} (in_index) of a ViT that gives {len(self)}: set out_indices, now '
                f'{tuple(self.blocks)}, to as many blocks as the head takes'
            ) from error


def check_readers(model: nn.Module) -> None:
    """See that a model's backbone gives as many features as its neck takes.

    The hosts' necks stop with a bare AssertionError.

    Raises:
        ValueError: If it gives fewer.
    """
    backbone, neck = getattr(model, 'backbone', None), getattr(model, 'neck', None)
    first = next(iter(neck), None) if isinstance(neck, nn.Sequential | nn.ModuleList) else neck
    if not isinstance(backbone, PrunedBackbone) or first is None:
        return
    # FPN and MultiLevelNeck name the widths of what they take, Feature2Pyramid the factors by which it resizes it.
    takes = getattr(first, 'rescales', None) or getattr(first, 'in_channels', None)
    if isinstance(takes, Sequence) and len(takes) > backbone.output_count():
        raise ValueError(
            f'model.neck: {type(first).__name__} takes {len(takes)} features, and the backbone gives '
            f'{backbone.output_count()}: set out_indices, now {tuple(getattr(backbone, "out_indices", ()))}, to as '
            'many blocks or stages as the neck takes'
        )
