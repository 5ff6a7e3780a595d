"""What a family of backbones provides, and what any backbone says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn
from torch.utils.hooks import RemovableHandle

from mmsls.backbones.base_files import StateDict
from mmsls.backbones.bridge import LinearBridge, is_bridge_key
from mmsls.backbones.tokens import BlockTokens
from mmsls.pruning_index.foundation import FINGERPRINT, IDENTITY, Foundation
from mmsls.scoring import BlockId
from mmsls.scoring.subset import kept_numbers, lowest_blocks


class BackboneFamily(nn.Module):
    """What tells Swin from ViT: where the blocks are, how they and the base's keys are named, how a block is adapted.

    A family's mixin fills this in and assumes nothing of the host beyond it.
    """

    family: ClassVar[str]
    block_pattern: ClassVar[re.Pattern[str]]
    """Matches the state-dict key of a block's tensor; groups `stage` (optional) and `block`."""
    computed: ClassVar[re.Pattern[str]] = re.compile(r'\.(relative_position_index|attn_mask)$')
    """Finds state-dict keys of tables that the model computes from its arguments."""
    not_in_base: ClassVar[re.Pattern[str]]
    """Finds state-dict keys that a base need not hold: output norms and tables that the model computes."""
    base_hints: ClassVar[Mapping[str, str]] = {}
    """What to set when a base does not fit: pattern of a problem as `load_base` words it, and the advice."""

    alternates: ClassVar[bool] = False
    """Whether blocks at even and odd places of a stage differ in what they do (Swin shifts the windows of odd ones)."""

    depths: tuple[int, ...]
    kept_depths: tuple[int, ...]
    """How many blocks every stage keeps."""
    subset: tuple[BlockId, ...] = ()
    """The kept blocks, in order, where they are not the lowest ones of their stages."""
    base_sha256: str | None = None
    adapter_cfg: dict[str, Any] | None = None
    base_checkpoint: str | None = None
    bridge: bool = False
    """Whether linear bridges stand in for the removed blocks that something reads."""
    output_blocks: tuple[int, ...] = ()
    """Which block each output of a ViT comes from; empty where outputs are stages.

    A block stands several times where pruning left too few.
    """
    out_indices: Sequence[int]

    # What a family provides.

    def block_lists(self) -> list[nn.ModuleList]:
        """Return each stage's list of blocks, bottom first."""
        raise NotImplementedError

    def output_count(self) -> int:
        """Return how many features a forward pass gives."""
        return len(self.out_indices)

    def base_width(self) -> int:
        """Return the width C of the first stage."""
        raise NotImplementedError

    def adapted(self, block: nn.Module, stage: int, cfg: Mapping[str, Any]) -> nn.Module:
        """Return a block with adapters around the host's block."""
        raise NotImplementedError

    def bridge_targets(self) -> list[BlockId]:
        """Return the blocks whose output something outside their stage reads, at full depth, bottom first."""
        raise NotImplementedError

    def bridge_to(self, target: BlockId) -> LinearBridge:
        """Return a new bridge that may stand for a block."""
        raise NotImplementedError

    def insert_bridges(self) -> None:
        """Put a bridge behind the kept blocks for every removed block whose output something reads, in place."""
        for stage, block in self.bridge_targets():
            if block >= self.kept_depths[stage]:  # bridges stand behind the lowest blocks alone
                self.block_lists()[stage].append(self.bridge_to((stage, block)))

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate a base's tensors to the host's key style and drop what the family never loads."""
        raise NotImplementedError

    def output_norms(self) -> dict[str, nn.Module]:
        """Return the trainable norms of the outputs, which a base need not hold, by name."""
        raise NotImplementedError

    def record_blocks(self, callback: Callable[[BlockId, BlockTokens], None]) -> list[RemovableHandle]:
        """Call back with every block's output tokens in each forward pass, until the handles are removed."""
        raise NotImplementedError

    def downsample_tokens(self, stage: int, tokens: BlockTokens) -> BlockTokens:
        """Apply what follows a stage (patch merging) to tokens of one of its blocks."""
        raise NotImplementedError

    # What others ask of it.

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

    def foundation(self, name: str = '') -> Foundation:
        """Return what a task on this backbone stands on.

        Args:
            name: Dotted name of the backbone in its model.
        """
        return Foundation(
            type=self.family,
            embed_dims=self.base_width(),
            depths=self.depths,
            kept_depths=self.kept_depths,
            kept_blocks=self.subset,
            base_checkpoint=self.base_checkpoint,
            base_sha256=self.base_sha256,
            adapter=self.adapter_cfg,
            name=name,
            bridge=self.bridge,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return what an index file must agree with: family, width and full depths."""
        return self.foundation().as_dict(FINGERPRINT)

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint says of the backbone: base, kept blocks, adapter."""
        return self.foundation().as_dict(IDENTITY)

    def iter_blocks(self) -> Iterator[tuple[BlockId, nn.Module]]:
        """Yield ((stage, block), module), bottom first, both 0-based and as at full depth; bridges are none."""
        for stage, (blocks, numbers) in enumerate(zip(self.block_lists(), self.kept_numbers(), strict=True)):
            for number, block in zip(numbers, blocks, strict=False):  # bridges come behind the blocks
                yield (stage, number), block

    def bridges(self) -> dict[str, LinearBridge]:
        """Return what stands in for removed blocks, by dotted name, bottom first."""
        return {name: module for name, module in self.named_modules() if isinstance(module, LinearBridge)}

    def is_computed(self, key: str) -> bool:
        """Whether a state-dict key (without prefix) belongs to a table that the model computes."""
        return bool(self.computed.search(key))

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
