"""What every pruned backbone shares: its arguments, its frozen base, and how its state dict is written and read."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, ClassVar

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmsls.adapters.base import Adapter, adapter_class, normalise_adapter_cfg
from mmsls.adapters.placement import PLACEMENT, chosen_blocks
from mmsls.adapters.selections import Selection, selected_parameters
from mmsls.backbones.base_files import StateDict, read_base
from mmsls.backbones.base_weights import SHOWN, load_base
from mmsls.backbones.identity import EXTRA_STATE, inference_cfg, pack, unpack
from mmsls.backbones.recomputing import mend_checkpointing
from mmsls.backbones.surgery import freeze, resolve_kept_depths, set_mode, truncate, warn_of_differences
from mmsls.backbones.tokens import BlockTokens
from mmsls.scoring import BlockId

NAMED_BASE = 'sha256:'
"""Starts a `base_checkpoint` that names the base without a file: its weights come with a full checkpoint (tools/merge.py)."""


class PrunedBackbone(nn.Module):
    """Mixin in front of a host's backbone class: frozen base, adapters, kept depths.

    A family's mixin says where the blocks are (`block_lists`), how they are named (`block_pattern`), what its base keys look like, and builds
    an adapted block. It assumes nothing of the host beyond that.

    The state dict of a backbone with a base carries one more tensor, `_extra_state` (uint8, JSON): the base's SHA-256, the kept depths and
    the adapter. Loading checks it, because `init_detector` and its kin show the model nothing else of a checkpoint. Base weights always come
    from the base file: those of a checkpoint are never read.
    """

    family: ClassVar[str]
    block_pattern: ClassVar[re.Pattern[str]]
    """Matches the state-dict key of a block's tensor; groups `stage` (optional) and `block`."""
    not_in_base: ClassVar[re.Pattern[str]]
    """Finds state-dict keys that a base need not hold: output norms and tables that the model computes."""
    base_hints: ClassVar[Mapping[str, str]] = {}
    """What to set when a base does not fit: pattern of a problem as `load_base` words it, and the advice."""

    depths: tuple[int, ...]
    kept_depths: tuple[int, ...]
    base_sha256: str | None = None
    adapter_cfg: dict[str, Any] | None = None
    base_checkpoint: str | None = None
    output_blocks: tuple[int, ...] = ()
    """Which block each output of a ViT comes from, a block several times where pruning left too few; empty where outputs are stages."""
    selected: frozenset[str] = frozenset()
    """Parameters of the base that a `Selection` trains."""
    _awaits_base: bool = False
    _host_arguments: tuple[tuple[Any, ...], dict[str, Any]]
    """Positional and keyword arguments that the family's constructor handed to the host's."""
    init_cfg: Any
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

    # Construction, after the host's own at full depth.

    def set_up(
        self,
        base_checkpoint: str | os.PathLike[str] | None,
        adapter: Mapping[str, Any] | None,
        pruning_index: str | os.PathLike[str] | None,
        kept_depths: int | Sequence[int] | None,
    ) -> None:
        """Truncate, load and freeze the base, insert adapters. The order matters: a base never meets adapters or removed blocks.

        Raises:
            ValueError: If an argument is wrong or does not fit the others, the index or the base.
            FileNotFoundError: If the index or the base is not there.
        """
        if adapter is not None and base_checkpoint is None:
            raise ValueError(f'adapter={adapter!r} needs base_checkpoint: adapters are trained on a frozen base')
        self.depths = tuple(len(blocks) for blocks in self.block_lists())
        self.adapter_cfg = normalise_adapter_cfg(adapter)
        self.kept_depths, index = resolve_kept_depths(self.fingerprint(), pruning_index, kept_depths)
        for blocks, depth in zip(self.block_lists(), self.kept_depths, strict=True):
            truncate(blocks, depth)
        if base_checkpoint is not None:
            self._load_base(os.fspath(base_checkpoint))
        if self.adapter_cfg is not None:
            self._insert_adapters(self.adapter_cfg)
        if base_checkpoint is not None:
            freeze(self, self.trainable_modules().values())
            for name in self.selected:
                self.get_parameter(name).requires_grad_(True)
            self.train(self.training)
        if index is not None:
            warn_of_differences(index, self.adapter_cfg, self.base_sha256)

    def _load_base(self, location: str) -> None:
        if location.startswith(NAMED_BASE):
            self.base_sha256, self.base_checkpoint = location.removeprefix(NAMED_BASE), location
            self._awaits_base = True
            self.register_forward_pre_hook(self._refuse_without_base)
            return
        state, sha256 = read_base(location)
        if any(key.endswith(EXTRA_STATE) for key in state):
            raise ValueError(
                f'base_checkpoint: {location!r} is a checkpoint that mmsls wrote for a task, not a base; its adapters load through load_from, '
                'and base_checkpoint names the pre-trained file that it was tuned on'
            )
        state = self.base_keys(state)
        load_base(self, state, location, self.not_in_base.search, self._is_removed, self.base_hints)
        self.base_sha256, self.base_checkpoint = sha256, location
        print_log(f'{type(self).__name__}: frozen base {location} (sha256 {sha256[:12]})', 'current')

    def _insert_adapters(self, cfg: Mapping[str, Any]) -> None:
        cls, chosen = adapter_class(cfg), chosen_blocks(cfg, self.depths)
        if issubclass(cls, Selection):
            here = [block for block_id, block in self.iter_blocks() if block_id in chosen]
            self.selected = selected_parameters(cls, self, here if set(PLACEMENT) & set(cfg) else [self])
            return
        for (stage, position), block in list(self.iter_blocks()):
            if (stage, position) in chosen:
                self.block_lists()[stage][position] = self.adapted(block, stage, cfg)

    def _freeze_unread(self, unread: Iterable[nn.Module], mend: str) -> None:
        """Freeze what no output depends on: it could never train, and DDP stops at parameters without a gradient."""
        idle = [p for module in unread for p in module.parameters() if p.requires_grad]
        if self.base_sha256 is None or not idle:
            return
        for parameter in idle:
            parameter.requires_grad_(False)
        print_log(
            f'{type(self).__name__}: no output of out_indices {tuple(self.out_indices)} depends on what comes after the last of them, so the '
            f'{len(idle)} adapter tensors there stay as they are; leave it out with {mend}',
            'current',
            logging.WARNING,
        )

    # What others ask of it.

    @property
    def is_pruned(self) -> bool:
        """Whether any block was removed."""
        return self.kept_depths != self.depths

    def fingerprint(self) -> dict[str, Any]:
        """Return what an index file must agree with: family, width and full depths."""
        return {'type': self.family, 'embed_dims': self.base_width(), 'depths': list(self.depths)}

    def iter_blocks(self) -> Iterator[tuple[BlockId, nn.Module]]:
        """Yield ((stage, block), module), bottom first, both 0-based."""
        for stage, blocks in enumerate(self.block_lists()):
            for position, block in enumerate(blocks):
                yield (stage, position), block

    def trainable_modules(self) -> dict[str, nn.Module]:
        """Return the parts that are trained and stored on a frozen base, by name: adapters and output norms."""
        adapters = {name: module for name, module in self.named_modules() if isinstance(module, Adapter)}
        return {**adapters, **self.output_norms()}

    def trained_keys(self) -> list[str]:
        """Return the state-dict keys that belong to one task: the trainable parts' and whatever else was unfrozen by hand."""
        prefixes = tuple(f'{name}.' for name in self.trainable_modules())
        unfrozen = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return [
            key
            for key in nn.Module.state_dict(self)
            if key.startswith(prefixes) or key in unfrozen or key in self.selected or key == EXTRA_STATE
        ]

    # Host methods with our meaning.

    def init_weights(self) -> None:
        """Initialise as the host does; with a base there is nothing to do.

        The host's code cannot load a full checkpoint into fewer blocks (mmdet 3.3: KeyError), so a pruned backbone without a base loads
        through a full-depth copy that is thrown away.
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
        self.load_state_dict({key: value for key, value in full.state_dict().items() if key in own})

    def train(self, mode: bool = True) -> PrunedBackbone:
        """Set train or eval mode, frozen parts staying in eval mode, and return self (the hosts return None)."""
        super().train(mode)
        mend_checkpointing(self)
        if self.base_sha256 is not None:
            set_mode(self, self.trainable_modules().values(), mode)
        return self

    # State dict.

    def _save_to_state_dict(self, destination: MutableMapping[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.base_sha256 is not None:
            destination[prefix + EXTRA_STATE] = pack(self._identity())

    def _identity(self) -> dict[str, Any]:
        return {'base_sha256': self.base_sha256, 'kept_depths': list(self.kept_depths), 'adapter': self.adapter_cfg}

    def _load_from_state_dict(self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any) -> None:
        packed = state_dict.pop(prefix + EXTRA_STATE, None)
        if self.base_sha256 is not None:
            self._check_identity(packed)
            self._drop_removed(state_dict, prefix)
            self._check_trained(state_dict, prefix)
            if self._awaits_base:
                self._take_base(state_dict, prefix)
            else:
                self._complete(state_dict, prefix)
        elif packed is not None:
            raise ValueError(
                f'this checkpoint was trained on a frozen base (sha256 {unpack(packed)["base_sha256"]}), '
                f'and {type(self).__name__} has none: set base_checkpoint and adapter as in its training config'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_identity(self, packed: Tensor | None) -> None:
        """Refuse a checkpoint of another base, another adapter, or fewer blocks."""
        if packed is None:
            raise ValueError(
                f'this checkpoint does not name the base it was trained on, but base_checkpoint={self.base_checkpoint!r} is set: '
                'it comes from a plain backbone; load it with base_checkpoint=None'
            )
        theirs = unpack(packed)
        if theirs['base_sha256'] != self.base_sha256:
            raise ValueError(
                f'base_checkpoint: this checkpoint was trained on a base with sha256 {theirs["base_sha256"]}, '
                f'{self.base_checkpoint!r} has {self.base_sha256}'
            )
        if inference_cfg(theirs['adapter']) != inference_cfg(self.adapter_cfg):
            raise ValueError(f'adapter: this checkpoint holds {theirs["adapter"]}, the model has {self.adapter_cfg}')
        if any(ours > kept for ours, kept in zip(self.kept_depths, theirs['kept_depths'], strict=True)):
            raise ValueError(
                f"kept_depths: this checkpoint holds {tuple(theirs['kept_depths'])} blocks per stage, fewer than the model's {self.kept_depths}"
            )

    def _is_removed(self, key: str) -> bool:
        """Whether a key (without prefix) belongs to a block that was pruned here."""
        match = self.block_pattern.match(key)
        if match is None:
            return False
        stage, block = int(match.groupdict().get('stage') or 0), int(match['block'])
        return stage < len(self.depths) and self.kept_depths[stage] <= block < self.depths[stage]

    def _drop_removed(self, state_dict: MutableMapping[str, Any], prefix: str) -> None:
        removed = [key for key in state_dict if key.startswith(prefix) and self._is_removed(key[len(prefix) :])]
        for key in removed:
            del state_dict[key]
        if removed:
            print_log(
                f'{type(self).__name__}: dropped {len(removed)} tensors of pruned blocks from the checkpoint', 'current'
            )

    def _check_trained(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Refuse missing or misshapen trained tensors: MMEngine only logs them and would go on with random ones."""
        own = nn.Module.state_dict(self)
        problems = [
            f'{key}: {tuple(state_dict[prefix + key].shape) if prefix + key in state_dict else "absent"}, needed {tuple(own[key].shape)}'
            for key in self.trained_keys()
            if key != EXTRA_STATE
            and (prefix + key not in state_dict or state_dict[prefix + key].shape != own[key].shape)
        ]
        if problems:
            raise ValueError(
                f'this checkpoint lacks trained tensors of {type(self).__name__}: {"; ".join(problems[:SHOWN])}'
            )

    def _take_base(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """See that a full checkpoint brings the whole base along."""
        missing = [key for key in nn.Module.state_dict(self) if key != EXTRA_STATE and prefix + key not in state_dict]
        if missing:
            raise ValueError(
                f'base_checkpoint={self.base_checkpoint!r} names no file, and this checkpoint does not hold the base '
                f'({", ".join(missing[:SHOWN])} missing): set base_checkpoint to the file, or load the full checkpoint first'
            )
        self._awaits_base = False

    def _refuse_without_base(self, *_: Any) -> None:
        if self._awaits_base:
            raise RuntimeError(
                f'base_checkpoint={self.base_checkpoint!r} names no file: load the full checkpoint before using the model'
            )

    def _complete(self, state_dict: MutableMapping[str, Any], prefix: str) -> None:
        """Put the base's own tensors in, so that a slim checkpoint is complete and a full one cannot overwrite the base."""
        trained = set(self.trained_keys())
        for key, value in nn.Module.state_dict(self).items():
            if key not in trained:
                state_dict[prefix + key] = value
