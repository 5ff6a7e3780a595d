"""Which blocks of a backbone an adapter config is for: its keys `stages` and `blocks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PLACEMENT = ('stages', 'blocks')


def normalise_placement(cfg: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the given ones of `stages` and `blocks` as sorted lists.

    Raises:
        ValueError: If one is no number or sequence of different numbers from 0 up.

    Example:
        >>> normalise_placement(dict(type='Convpass', stages=(3, 2), blocks=None))
        {'stages': [2, 3]}
    """
    found = {}
    for key in PLACEMENT:
        value = cfg.get(key)
        if value is None:
            continue
        numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        fine = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
        if not numbers or not fine or len(set(numbers)) < len(numbers):
            raise ValueError(f'adapter.{key} must hold different numbers from 0 up, got {value!r}')
        found[key] = sorted(numbers)
    return found


def chosen_blocks(cfg: Mapping[str, Any], depths: Sequence[int]) -> set[tuple[int, int]]:
    """Return the `(stage, block)` that get an adapter; all without `stages` and `blocks`.

    Args:
        cfg: A normalised adapter config; `blocks` counts within each stage.
        depths: Blocks per stage of the full backbone, so that a selection means the same at any kept depths.

    Raises:
        ValueError: If a number matches no block.

    Example:
        >>> sorted(chosen_blocks({'stages': [1, 2], 'blocks': [0, 3]}, (2, 2, 6)))
        [(1, 0), (2, 0), (2, 3)]
    """
    stages, blocks = cfg.get('stages'), cfg.get('blocks')
    found = {
        (stage, block)
        for stage, depth in enumerate(depths)
        for block in range(depth)
        if (stages is None or stage in stages) and (blocks is None or block in blocks)
    }
    for position, key in enumerate(PLACEMENT):
        unmatched = sorted(set(cfg.get(key) or ()) - {block[position] for block in found})
        if unmatched:
            raise ValueError(
                f'adapter.{key}={cfg[key]}: {unmatched} matches no block (stages={stages}, blocks={blocks}); '
                f'the backbone has {tuple(depths)} blocks per stage, counted from 0'
            )
    return found
