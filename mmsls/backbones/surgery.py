"""Surgery on a backbone that stands at full depth: which blocks stay, what is frozen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId
from mmsls.scoring.curve import is_int
from mmsls.scoring.subset import lowest_blocks


def resolve_kept_blocks(
    fingerprint: Mapping[str, Any],
    pruning_index: str | os.PathLike[str] | None,
    kept_depths: int | Sequence[int] | None,
    kept_blocks: Sequence[Sequence[int]] | None = None,
) -> tuple[tuple[BlockId, ...], PruningIndex | None]:
    """Decide which blocks are kept.

    Args:
        fingerprint: `type`, `embed_dims` and `depths` of the full backbone.
        pruning_index: Path of an index file, or None.
        kept_depths: Blocks kept per stage, as a number where there is one stage, or None.
        kept_blocks: `(stage, block)` of every kept block, or None.

    Returns:
        The kept blocks, bottom first, and the index where one was read.

    Raises:
        ValueError: If more than one is given, the blocks don't fit, or the index is damaged or belongs to another
            backbone.
        FileNotFoundError: If there is no index file at that path.
    """
    full = tuple(fingerprint['depths'])
    given = {'pruning_index': pruning_index, 'kept_depths': kept_depths, 'kept_blocks': kept_blocks}
    named = [f'{name} ({str(value)!r})' for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError(f'give {" or ".join(named)}, not both')
    if pruning_index is not None:
        index = PruningIndex.load(pruning_index)
        index.check_backbone(fingerprint)
        return index.kept_blocks, index
    if kept_blocks is not None:
        return checked_blocks(kept_blocks, full), None
    if kept_depths is None:
        return lowest_blocks(full), None
    kept = tuple(kept_depths) if isinstance(kept_depths, Iterable) else (kept_depths,)
    fits = len(kept) == len(full) and all(
        isinstance(k, Integral) and not isinstance(k, bool) and 0 <= k <= n for k, n in zip(kept, full, strict=True)
    )
    if not fits or sum(kept) == 0:
        raise ValueError(
            f'kept_depths must hold one number per stage, each from 0 to the depth of its stage {full} and not all 0, '
            f'got {kept}'
        )
    return lowest_blocks([int(k) for k in kept]), None


def checked_blocks(blocks: Any, depths: Sequence[int]) -> tuple[BlockId, ...]:
    """Return the blocks that are named by hand, bottom first, whatever their order.

    Raises:
        ValueError: If one is no block of a backbone of these depths or comes twice, or there is none.

    Example:
        >>> checked_blocks([[0, 2], [0, 0]], depths=(3,))
        ((0, 0), (0, 2))
        >>> checked_blocks([[0, 3]], depths=(3,))
        Traceback (most recent call last):
        ...
        ValueError: kept_blocks must hold distinct (stage, block) pairs of a backbone of depths (3,), got [0, 3]
    """
    told = f'kept_blocks must hold distinct (stage, block) pairs of a backbone of depths {tuple(depths)}'
    if not isinstance(blocks, Iterable) or isinstance(blocks, str):
        raise ValueError(f'{told}, got {blocks!r}')
    found: set[BlockId] = set()
    for pair in blocks:
        right = isinstance(pair, Sequence) and len(pair) == 2 and all(is_int(part) and part >= 0 for part in pair)
        if not right or pair[0] >= len(depths) or pair[1] >= depths[pair[0]] or tuple(pair) in found:
            raise ValueError(f'{told}, got {pair!r}')
        found.add((int(pair[0]), int(pair[1])))
    if not found:
        raise ValueError(f'{told}, got none')
    return tuple(sorted(found))


def warn_of_differences(index: PruningIndex, adapter: Mapping[str, Any] | None, base_sha256: str | None) -> None:
    """Warn when the index was decided with another adapter or base; merged models and controls use it all the same."""
    for field, theirs, ours in (('adapter', index.adapter, adapter), ('base_sha256', index.base_sha256, base_sha256)):
        if theirs != ours:
            print_log(
                f'pruning_index: {field} was {theirs} when the blocks were scored and is {ours} here', 'current', 30
            )


def keep(blocks: nn.ModuleList, numbers: Sequence[int]) -> None:
    """Remove all but some blocks of a list, in place; the others move up and stay as they are."""
    for number in reversed(range(len(blocks))):
        if number not in numbers:
            del blocks[number]


def freeze(module: nn.Module, trainable: Iterable[nn.Module]) -> None:
    """Take the gradient from every parameter of `module` but those of the `trainable` parts."""
    module.requires_grad_(False)
    for part in trainable:
        part.requires_grad_(True)


def set_mode(module: nn.Module, trainable: Iterable[nn.Module], mode: bool) -> None:
    """Put a frozen module in eval mode and its trainable parts in `mode`: no DropPath, no Dropout in what is frozen.

    Call it after the host's own `train`. What that left in eval mode all the same (norms, by `norm_eval=True`) stays so
    in trained parts too.
    """
    held = [inner for inner in module.modules() if not inner.training] if mode else []
    for child in module.children():
        child.train(False)
    for part in trainable:
        part.train(mode)
    for inner in held:
        inner.training = False
