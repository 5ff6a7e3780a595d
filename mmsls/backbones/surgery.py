"""Surgery on a backbone that stands at full depth: which blocks stay, what is frozen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmsls.pruning_index import PruningIndex


def resolve_kept_depths(
    fingerprint: Mapping[str, Any],
    pruning_index: str | os.PathLike[str] | None,
    kept_depths: int | Sequence[int] | None,
) -> tuple[tuple[int, ...], PruningIndex | None]:
    """Decide how many blocks each stage keeps.

    Args:
        fingerprint: `type`, `embed_dims` and `depths` of the full backbone.
        pruning_index: Path of an index file, or None.
        kept_depths: Blocks kept per stage, as a number where there is one stage, or None.

    Returns:
        The kept depths, and the index where one was read.

    Raises:
        ValueError: If both are given, the depths don't fit, or the index is damaged or belongs to another backbone.
        FileNotFoundError: If there is no index file at that path.
    """
    full = tuple(fingerprint['depths'])
    if pruning_index is not None and kept_depths is not None:
        raise ValueError(f'give pruning_index ({os.fspath(pruning_index)!r}) or kept_depths ({kept_depths}), not both')
    if pruning_index is not None:
        index = PruningIndex.load(pruning_index)
        index.check_backbone(fingerprint)
        return index.kept_depths, index
    if kept_depths is None:
        return full, None
    kept = tuple(kept_depths) if isinstance(kept_depths, Iterable) else (kept_depths,)
    fits = len(kept) == len(full) and all(
        isinstance(k, Integral) and not isinstance(k, bool) and 0 <= k <= n for k, n in zip(kept, full, strict=True)
    )
    if not fits or sum(kept) == 0:
        raise ValueError(
            f'kept_depths must hold one number per stage, each from 0 to the depth of its stage {full} and not all 0, '
            f'got {kept}'
        )
    return tuple(int(k) for k in kept), None


def warn_of_differences(index: PruningIndex, adapter: Mapping[str, Any] | None, base_sha256: str | None) -> None:
    """Warn when the index was decided with another adapter or base; merged models and controls use it all the same."""
    for field, theirs, ours in (('adapter', index.adapter, adapter), ('base_sha256', index.base_sha256, base_sha256)):
        if theirs != ours:
            print_log(
                f'pruning_index: {field} was {theirs} when the blocks were scored and is {ours} here', 'current', 30
            )


def truncate(blocks: nn.ModuleList, depth: int) -> list[nn.Module]:
    """Cut a list of blocks to its first `depth` and return what was removed."""
    removed = list(blocks[depth:])
    del blocks[depth:]
    return removed


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
