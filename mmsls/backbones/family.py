"""What a family of backbones provides, and what any backbone says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn
from torch.utils.hooks import RemovableHandle

from mmsls.backbones.base_files import StateDict
from mmsls.backbones.bridge import BridgeSetting, LinearBridge
from mmsls.backbones.numbering import BlockNumbers
from mmsls.backbones.tokens import BlockTokens
from mmsls.pruning_index.foundation import FINGERPRINT, IDENTITY, Foundation
from mmsls.scoring import BlockId
from mmsls.scoring.subset import lowest_blocks


class BackboneFamily(BlockNumbers):
    """What tells Swin from ViT: where the blocks are, how they and the base's keys are named, how a block is adapted.

    A family's mixin fills this in and assumes nothing of the host beyond it.
    """

    family: str
    computed: ClassVar[re.Pattern[str]] = re.compile(r'\.(relative_position_index|attn_mask)$')
    """Finds state-dict keys of tables that the model computes from its arguments."""
    not_in_base: ClassVar[re.Pattern[str]]
    """Finds state-dict keys that a base need not hold: output norms and tables that the model computes."""
    base_hints: ClassVar[Mapping[str, str]] = {}
    """What to set when a base does not fit: pattern of a problem as `load_base` words it, and the advice."""

    hostless: ClassVar[str] = ''
    """Why no host has such a backbone of its own; empty where one has."""
    alternates: ClassVar[bool] = False
    """Whether blocks at even and odd places of a stage differ in what they do (Swin shifts the windows of odd ones)."""

    base_sha256: str | None = None
    adapter_cfg: dict[str, Any] | None = None
    base_checkpoint: str | None = None
    bridge: BridgeSetting = False
    """Whether linear bridges stand in for the removed blocks that something reads, and of which rank."""
    output_blocks: tuple[int, ...] = ()
    """Which block each output of a ViT comes from; empty where outputs are stages.

    A block stands several times where pruning left too few.
    """
    out_indices: Sequence[int]

    # What a family provides.

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

    def output_tops(self) -> list[BlockId | None]:
        """Return the topmost block that each output depends on at full depth, in their order; None where none does."""
        raise NotImplementedError

    def bridge_to(self, target: BlockId, setting: BridgeSetting = True) -> LinearBridge:
        """Return a new bridge that may stand for a block."""
        raise NotImplementedError

    def trunk(self) -> list[nn.Module]:
        """Return what a pass runs through as at full depth, bottom first: patch embedding, blocks, patch mergings.

        It ends below the first removed block.
        """
        raise NotImplementedError

    def read_modules(self) -> list[nn.Module]:
        """Return the parts of the trunk whose output something else than the block above them reads."""
        raise NotImplementedError

    def cut_outputs(self) -> list[int]:
        """Return which outputs depend on a removed block, ascending."""
        removed = set(lowest_blocks(self.depths)) - set(self.kept_blocks)
        return [
            place
            for place, top in enumerate(self.output_tops())
            if top is not None and any(block <= top for block in removed)
        ]

    def insert_bridges(self) -> None:
        """Put a bridge behind the kept blocks for every removed block whose output something reads, in place."""
        for stage, block in self.bridge_targets():
            if block >= self.kept_depths[stage]:  # bridges stand behind the lowest blocks alone
                self.block_lists()[stage].append(self.bridge_to((stage, block), self.bridge))

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

    def blocks_in_place(self, stage: int) -> list[nn.Module]:
        """Return a stage's kept blocks below the first removed one, bottom first."""
        numbers = self.kept_numbers()[stage]
        lowest = [place for place, number in enumerate(numbers) if place == number]
        return list(self.block_lists()[stage][: len(lowest)])

    def bridges(self) -> dict[str, LinearBridge]:
        """Return what stands in for removed blocks, by dotted name, bottom first."""
        return {name: module for name, module in self.named_modules() if isinstance(module, LinearBridge)}

    def is_computed(self, key: str) -> bool:
        """Whether a state-dict key (without prefix) belongs to a table that the model computes."""
        return bool(self.computed.search(key))
