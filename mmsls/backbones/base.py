"""What every pruned backbone shares: how it is put together from its arguments, and host methods with our meaning."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmsls.adapters.base import adapter_class, normalise_adapter_cfg
from mmsls.adapters.placement import PLACEMENT, chosen_blocks
from mmsls.adapters.selections import Selection, selected_parameters
from mmsls.backbones.base_files import read_base
from mmsls.backbones.base_record import BaseRecord
from mmsls.backbones.base_weights import load_base
from mmsls.backbones.bridge import BridgeSetting, check_bridge
from mmsls.backbones.frozen_base import NAMED_BASE, FrozenBase
from mmsls.backbones.identity import EXTRA_STATE
from mmsls.backbones.recomputing import mend_checkpointing
from mmsls.backbones.state import tensors_of
from mmsls.backbones.surgery import freeze, keep, resolve_kept_blocks, set_mode, warn_of_differences
from mmsls.scoring import BlockId
from mmsls.scoring.subset import block_counts, unless_lowest


class PrunedBackbone(FrozenBase):
    """Mixin in front of a host's backbone class: frozen base, adapters, kept depths.

    A family's mixin says where the blocks are and what they are called (`BackboneFamily`); what stands in the state
    dict, and what the frozen base was, is `FrozenBase`'s. Nothing is assumed of the host beyond that.
    """

    _host_arguments: tuple[tuple[Any, ...], dict[str, Any]]
    """Positional and keyword arguments that the family's constructor handed to the host's."""
    init_cfg: Any

    # Construction, after the host's own at full depth.

    def set_up(
        self,
        base_checkpoint: str | os.PathLike[str] | None,
        adapter: Mapping[str, Any] | None,
        pruning_index: str | os.PathLike[str] | None,
        kept_depths: int | Sequence[int] | None,
        bridge: BridgeSetting = False,
        kept_blocks: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Truncate, load and freeze the base, then insert adapters and bridges.

        The order matters: a base never meets adapters, bridges or removed blocks.

        Raises:
            ValueError: If an argument is wrong or does not fit the others, the index or the base.
            FileNotFoundError: If the index or the base is not there.
        """
        if adapter is not None and base_checkpoint is None:
            raise ValueError(f'adapter={adapter!r} needs base_checkpoint: adapters are trained on a frozen base')
        self.depths = tuple(len(blocks) for blocks in self.block_lists())
        self.adapter_cfg = normalise_adapter_cfg(adapter)
        self.kept_depths = self.depths
        self._casts = set()
        self.base_record = BaseRecord()
        kept, index = resolve_kept_blocks(self.fingerprint(), pruning_index, kept_depths, kept_blocks)
        self.kept_depths, self.subset = block_counts(kept, len(self.depths)), unless_lowest(kept)
        check_bridge(bridge)
        if bridge and self.subset:
            raise ValueError(
                f'bridge: it stands behind the lowest blocks of a stage, and kept_blocks {self.subset} are others; '
                'leave bridge out, or cut from the top (kept_depths)'
            )
        for blocks, numbers in zip(self.block_lists(), self.kept_numbers(), strict=True):
            keep(blocks, numbers)
        if base_checkpoint is not None:
            self._load_base(os.fspath(base_checkpoint))
        if self.adapter_cfg is not None:
            self._insert_adapters(self.adapter_cfg)
        self.bridge = bridge if self.is_pruned else False
        if self.bridge:
            self.insert_bridges()
        if base_checkpoint is not None:
            freeze(self, self.trainable_modules().values())
            for name in self.selected:
                self.get_parameter(name).requires_grad_(True)
            self.train(self.training)
            if not self.awaits_base:
                self._note_base(tensors_of(self), '')
        if index is not None:
            warn_of_differences(index, self.adapter_cfg, self.base_sha256)

    def _load_base(self, location: str) -> None:
        if location.startswith(NAMED_BASE):
            self.base_sha256, self.base_checkpoint = location.removeprefix(NAMED_BASE), location
            self.awaits_base = True
            self.register_forward_pre_hook(self._refuse_without_base)
            return
        state, sha256 = read_base(location)
        if any(key.endswith(EXTRA_STATE) for key in state):
            raise ValueError(
                f'base_checkpoint: {location!r} is a checkpoint that mmsls wrote for a task, not a base; its adapters '
                'load through load_from, and base_checkpoint names the pre-trained file that it was tuned on'
            )
        state = self.tensors_here(self.base_keys(state))
        load_base(self, state, location, self.not_in_base.search, self.base_hints)
        self.base_sha256, self.base_checkpoint = sha256, location
        print_log(f'{type(self).__name__}: frozen base {location} (sha256 {sha256[:12]})', 'current')

    def _insert_adapters(self, cfg: Mapping[str, Any]) -> None:
        cls, chosen = adapter_class(cfg), chosen_blocks(cfg, self.depths)
        if issubclass(cls, Selection):
            here = [block for block_id, block in self.iter_blocks() if block_id in chosen]
            self.selected = selected_parameters(cls, self, here if set(PLACEMENT) & set(cfg) else [self])
            return
        for stage, (blocks, numbers) in enumerate(zip(self.block_lists(), self.kept_numbers(), strict=True)):
            for place, number in enumerate(numbers):
                if (stage, number) in chosen:
                    blocks[place] = self.adapted(blocks[place], stage, cfg)

    def _freeze_unread(self, unread: Iterable[nn.Module], read: Sequence[BlockId]) -> None:
        """Freeze what no output depends on: it could never train, and DDP stops at parameters without a gradient."""
        idle = [p for module in unread for p in module.parameters() if p.requires_grad]
        if self.base_sha256 is None or not idle:
            return
        for parameter in idle:
            parameter.requires_grad_(False)
        pruning = replace(
            self.foundation(), kept_depths=block_counts(read, len(self.depths)), kept_blocks=unless_lowest(read)
        ).told
        print_log(
            f'{type(self).__name__}: no output of out_indices {tuple(self.out_indices)} depends on what comes after '
            f'the last of them, so the {len(idle)} adapter tensors there stay as they are; leave it out with {pruning}',
            'current',
            logging.WARNING,
        )

    # Host methods with our meaning.

    def init_weights(self) -> None:
        """Initialise as the host does; with a base there is nothing to do.

        The host's code cannot load a full checkpoint into fewer blocks (mmdet 3.3: KeyError), so a pruned backbone
        without a base loads through a full-depth copy that is thrown away.
        """
        if self.base_sha256 is not None:
            return
        if not self.is_pruned:
            super().init_weights()  # type: ignore[misc]  # the host's, next in line
            return
        args, kwargs = self._host_arguments
        full: Any = type(self)(*args, **kwargs)
        full.init_cfg = self.init_cfg
        full.init_weights()
        own = self.state_dict()
        loaded = self.tensors_here(full.state_dict())
        self.load_state_dict({**own, **{key: value for key, value in loaded.items() if key in own}})

    def train(self, mode: bool = True) -> PrunedBackbone:
        """Set train or eval mode, frozen parts staying in eval mode, and return self (the hosts return None)."""
        super().train(mode)
        mend_checkpointing(self)
        if self.base_sha256 is not None:
            set_mode(self, [*self.trainable_modules().values(), *self._added_modules()], mode)
        return self

    def _added_modules(self) -> list[nn.Module]:
        """Return the trained children that a subclass of one's own added: nothing in them is the base's."""
        of_base = {key.split('.')[0] for key in self.base_record}
        return [
            child
            for name, child in self.named_children()
            if of_base and name not in of_base and any(p.requires_grad for p in child.parameters())
        ]
