"""Backbones of one stage, plain ViTs: which blocks an output comes from, before and after pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmsls.adapters.functional import split_extra_tokens
from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.outputs import BlockOutputs, checked_outputs, places_below, remapped_outputs
from mmsls.backbones.tokens import BlockTokens, TokenGrid
from mmsls.scoring import BlockId


class OneStageBackbone(PrunedBackbone):
    """A backbone whose blocks stand in one list and whose `out_indices` name blocks.

    After pruning, entries of `out_indices` that were removed become the last kept blocks, as many as before; with
    bridges they become the bridges. One that was removed from between kept blocks becomes the nearest kept block below
    it, or the lowest.
    """

    _grid: TokenGrid
    _wanted: list[int]

    # What a host's mixin provides.

    def blocks(self) -> Any:
        """Return the list of blocks, bridges behind them."""
        raise NotImplementedError

    def patch_side(self) -> int:
        """Return the side of a patch in pixels."""
        raise NotImplementedError

    def patches(self) -> nn.Module:
        """Return the patch embedding."""
        raise NotImplementedError

    def last_norm(self) -> list[nn.Module]:
        """Return the norm that follows the last block alone, if there is one."""
        return []

    # What follows from it.

    def set_outputs(self, *settings: Any) -> None:
        """Check `out_indices`, set the backbone up (see `PrunedBackbone.set_up`), and say what became of the outputs.

        Raises:
            ValueError: If an output is no block, or as `set_up` does.
            FileNotFoundError: As `set_up`.
        """
        wanted = self._wanted = checked_outputs(self.out_indices, len(self.blocks()), 'blocks')
        self.set_up(*settings)
        self._map_outputs(wanted)

    def _map_outputs(self, wanted: Sequence[int]) -> None:
        """Have the host put out the distinct blocks left of `wanted`; `repeated` repeats those wanted more often."""
        layers, numbers = self.blocks(), self.kept_numbers()[0]
        blocks = remapped_outputs(places_below(wanted, numbers), len(layers))
        if self.bridge:
            kept, bridged = self.kept_depths[0], [bridge.target[1] for bridge in self.bridges().values()]
            blocks = [kept + bridged.index(block) if block in bridged else block for block in wanted]
        self.out_indices = sorted(set(blocks))
        self.output_blocks = tuple(blocks)
        if blocks[-1] + 1 < len(layers):
            read = self.kept_blocks[: blocks[-1] + 1]
            self._freeze_unread([*layers[blocks[-1] + 1 :], *self.last_norm()], read)
        if not self.is_pruned:
            return
        told = blocks if self.bridge else [numbers[place] for place in blocks]
        if told != list(wanted):
            print_log(f'{type(self).__name__}: out_indices {tuple(wanted)} became {tuple(told)}', 'current')
        if self.last_norm() and not self.bridge:
            print_log(f'{type(self).__name__}: the final norm now follows block {numbers[-1]}', 'current')

    def repeated(self, outs: Sequence[Any]) -> BlockOutputs:
        """Return a host's outputs, those that are wanted several times several times.

        Args:
            outs: One per entry of `out_indices`, after what the host may put ahead of them.
        """
        ahead = len(outs) - len(self.out_indices)
        again = [outs[ahead + self.out_indices.index(block)] for block in self.output_blocks]
        return BlockOutputs([*outs[:ahead], *again], self.output_blocks)

    def bridge_targets(self) -> list[BlockId]:
        """Return the blocks that `out_indices` names."""
        return [(0, block) for block in self._wanted]

    def output_tops(self) -> list[BlockId | None]:
        """Return the blocks that `out_indices` names; mmseg's `out_origin` comes before all blocks."""
        ahead: list[BlockId | None] = [None] * (self.output_count() - len(self.output_blocks))
        return [*ahead, *self.bridge_targets()]

    def block_lists(self) -> list[nn.ModuleList]:
        """Return the list of blocks: there is one stage."""
        return [self.blocks()]

    def trunk(self) -> list[nn.Module]:
        """Return the patch embedding and the blocks below the first removed one."""
        return [self.patches(), *self.blocks_in_place(0)]

    def read_modules(self) -> list[nn.Module]:
        """Return the patch embedding and the blocks that are put out."""
        return [self.patches(), *(self.blocks()[place] for place in self.output_blocks)]

    def output_count(self) -> int:
        """Return how many features a forward pass gives."""
        return len(self.output_blocks)

    def record_blocks(self, callback: Callable[[BlockId, BlockTokens], None]) -> list[RemovableHandle]:
        """Call back with each block's output, before any final norm, in each forward pass until handles are removed."""

        def hook_of(block_id: BlockId) -> Callable[[nn.Module, tuple, Tensor], None]:
            def hook(_: nn.Module, __: tuple, output: Tensor) -> None:
                extra, tokens = split_extra_tokens(output, self._grid.shape)
                extra_tokens = extra if extra.shape[1] else None
                callback(block_id, BlockTokens(tokens, self._grid.shape, self.patch_side(), extra_tokens))

            return hook

        return [block.register_forward_hook(hook_of(block_id)) for block_id, block in self.iter_blocks()]

    def downsample_tokens(self, stage: int, tokens: BlockTokens) -> BlockTokens:  # noqa: ARG002
        """Return the tokens: nothing follows the one stage."""
        return tokens
