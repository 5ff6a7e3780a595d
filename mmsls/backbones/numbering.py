"""Which blocks a backbone keeps, and under which keys their tensors stand here and at full depth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import nn

from mmsls.backbones.base_files import StateDict
from mmsls.backbones.bridge import is_bridge_key
from mmsls.scoring import BlockId
from mmsls.scoring.subset import kept_numbers, lowest_blocks


class BlockNumbers(nn.Module):
    """Kept blocks are numbered anew in every stage, as the hosts' lists are; this translates."""

    block_pattern: ClassVar[re.Pattern[str]]
    """Matches the state-dict key of a block's tensor; groups `stage` (optional) and `block`."""
    depths: tuple[int, ...]
    kept_depths: tuple[int, ...]
    subset: tuple[BlockId, ...] = ()
    """The blocks that are kept, where they are not the lowest ones of their stages."""

    def block_lists(self) -> list[nn.ModuleList]:
        """Return each stage's list of blocks, bottom first."""
        raise NotImplementedError

    @property
    def is_pruned(self) -> bool:
        """Whether any block was removed."""
        return self.kept_depths != self.depths

    @property
    def kept_blocks(self) -> tuple[BlockId, ...]:
        """`(stage, block)` at full depth of every block that is kept, bottom first."""
        return self.subset or lowest_blocks(self.kept_depths)

    def kept_numbers(self) -> list[Sequence[int]]:
        """Return the numbers, at full depth, of the blocks that every stage keeps, bottom first."""
        return kept_numbers(self.kept_depths, self.subset)

    def key_here(self, key: str, numbers: Sequence[Sequence[int]]) -> str | None:
        """Return the key here of a tensor of a backbone that keeps other blocks; None if it was removed here.

        Kept blocks are numbered anew in every stage, as the hosts' lists are.

        Args:
            key: Its key there (without prefix).
            numbers: The numbers, at full depth, of the blocks that every stage keeps there.
        """
        return self._moved(key, numbers, self.kept_numbers())

    def full_key(self, key: str) -> str | None:
        """Return the key at full depth of a tensor of this backbone."""
        return self._moved(key, self.kept_numbers(), kept_numbers(self.depths))

    def _moved(self, key: str, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> str | None:
        match = self.block_pattern.match(key)
        if match is None:
            return key
        stage, place = int(match.groupdict().get('stage') or 0), int(match['block'])
        if stage >= len(self.depths) or place >= self.depths[stage] or is_bridge_key(key[match.end() :]):
            return key
        if place >= len(before[stage]) or before[stage][place] not in after[stage]:
            return None
        moved = after[stage].index(before[stage][place])
        return f'{key[: match.start("block")]}{moved}{key[match.end("block") :]}'

    def tensors_here(self, state: StateDict, numbers: Sequence[Sequence[int]] | None = None) -> StateDict:
        """Return tensors of a backbone that keeps other blocks under their keys here, without those of removed blocks.

        Args:
            state: The tensors, by key (without prefix) in the host's style.
            numbers: See `key_here`; by default all blocks are there.
        """
        theirs = kept_numbers(self.depths) if numbers is None else numbers
        found = {key: self.key_here(key, theirs) for key in state}
        return {here: state[key] for key, here in found.items() if here is not None}

    def numbers_in(self, keys: Iterable[str]) -> list[Sequence[int]]:
        """Return the block numbers of a state that does not name its blocks: as here if it has no more, else all.

        Args:
            keys: Its keys (without prefix).
        """
        places = [
            (int(m.groupdict().get('stage') or 0), int(m['block'])) for m in map(self.block_pattern.match, keys) if m
        ]
        more = any(stage < len(self.depths) and place >= self.kept_depths[stage] for stage, place in places)
        return kept_numbers(self.depths) if more else self.kept_numbers()
