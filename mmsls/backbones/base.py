"""What every pruned backbone shares: its arguments, its frozen base, and how its state dict is written and read."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmsls.adapters.base import Adapter, adapter_class, normalise_adapter_cfg
from mmsls.adapters.placement import PLACEMENT, chosen_blocks
from mmsls.adapters.selections import Selection, selected_parameters
from mmsls.backbones.base_files import StateDict, read_base
from mmsls.backbones.base_record import BaseRecord
from mmsls.backbones.base_weights import POSITION_TABLE, fit, load_base
from mmsls.backbones.identity import EXTRA_STATE, pack, unpack
from mmsls.backbones.loading import take_plain, take_task, tensors_of
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
    the adapter. Loading checks it, because `init_detector` and its kin show the model nothing else of a checkpoint. A task stores what it
    trains and whatever of the base is not the base's any more; the rest comes from the base file (see `loading`).
    """

    family: ClassVar[str]
    block_pattern: ClassVar[re.Pattern[str]]
    """Matches the state-dict key of a block's tensor; groups `stage` (optional) and `block`."""
    not_in_base: ClassVar[re.Pattern[str]]
    """Finds state-dict keys that a base need not hold: output norms and tables that the model computes."""
    computed: ClassVar[re.Pattern[str]] = re.compile(r'\.(relative_position_index|attn_mask)$')
    """Finds state-dict keys of tables that the model computes from its arguments."""
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
    awaits_base: bool = False
    """Whether `base_checkpoint` names the base without a file, and no full checkpoint has brought it yet."""
    base_record: BaseRecord
    """What the frozen tensors were when the base was loaded."""
    _casts: set[torch.dtype]
    """Other dtypes that the base was compared in."""
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
        self._casts = set()
        self.base_record = BaseRecord()
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
                f'base_checkpoint: {location!r} is a checkpoint that mmsls wrote for a task, not a base; its adapters load through load_from, '
                'and base_checkpoint names the pre-trained file that it was tuned on'
            )
        state = self.base_keys(state)
        load_base(self, state, location, self.not_in_base.search, self.is_removed, self.base_hints)
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

    def unfrozen(self) -> set[str]:
        """Return the names of the parameters that have a gradient now."""
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def trained_keys(self) -> list[str]:
        """Return the state-dict keys of what is trained: the trainable parts' and whatever else has a gradient now."""
        prefixes, unfrozen = tuple(f'{name}.' for name in self.trainable_modules()), self.unfrozen()
        return [
            key
            for key in nn.Module.state_dict(self)
            if key.startswith(prefixes) or key in unfrozen or key in self.selected or key == EXTRA_STATE
        ]

    def stored_keys(self, state: Mapping[str, Tensor] | None = None, prefix: str = '') -> list[str]:
        """Return the state-dict keys that belong to one task: what is trained, and whatever is not the base's any more.

        Args:
            state: A state dict of the model; by default the backbone's own.
            prefix: Where the backbone stands in it.
        """
        state = nn.Module.state_dict(self) if state is None else state
        trained = set(self.trained_keys())
        return [
            key
            for key in nn.Module.state_dict(self)
            if key in trained
            or (not self.awaits_base and prefix + key in state and not self.is_base(key, state[prefix + key]))
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
            set_mode(self, [*self.trainable_modules().values(), *self._added_modules()], mode)
        return self

    def _added_modules(self) -> list[nn.Module]:
        """Return the children that a subclass of one's own added and that are trained: nothing in them is the base's."""
        of_base = {key.split('.')[0] for key in self.base_record}
        return [
            child
            for name, child in self.named_children()
            if of_base and name not in of_base and any(p.requires_grad for p in child.parameters())
        ]

    # State dict.

    def _save_to_state_dict(self, destination: MutableMapping[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.base_sha256 is not None:
            destination[prefix + EXTRA_STATE] = pack(self.identity())

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint says of the backbone: base, kept depths, adapter."""
        return {'base_sha256': self.base_sha256, 'kept_depths': list(self.kept_depths), 'adapter': self.adapter_cfg}

    def _load_from_state_dict(self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any) -> None:
        packed = state_dict.pop(prefix + EXTRA_STATE, None)
        if self.base_sha256 is None:
            if packed is not None:
                raise ValueError(
                    f'this checkpoint was trained on a frozen base (sha256 {unpack(packed)["base_sha256"]}), '
                    f'and {type(self).__name__} has none: set base_checkpoint and adapter as in its training config'
                )
        elif packed is None:
            take_plain(self, state_dict, prefix, args[2], args[3])  # PyTorch's missing and unexpected keys so far
        else:
            theirs = unpack(packed)
            take_task(self, state_dict, prefix, theirs)
            if self.awaits_base:
                self._note_base(state_dict, prefix, theirs.get('changed', ()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _note_base(self, state: Mapping[str, Tensor], prefix: str, changed: Collection[str] = ()) -> None:
        """Record the base, from a state that holds it whole; what is known to differ from the base is left out, and so always stored."""
        prefixes = tuple(f'{name}.' for name in self.trainable_modules())
        self.base_record = BaseRecord()
        for key in tensors_of(self):
            if not key.startswith(prefixes) and key not in changed:
                self.base_record.note(key, state[prefix + key])
        self.awaits_base = False

    def _refuse_without_base(self, *_: Any) -> None:
        if self.awaits_base:
            raise RuntimeError(
                f'base_checkpoint={self.base_checkpoint!r} names no file: load the full checkpoint before using the model'
            )

    # The base, as it was.

    def is_base(self, key: str, tensor: Tensor) -> bool:
        """Whether a tensor under a key (without prefix) is still the base's, bit for bit, in its own dtype."""
        dtype = tensor.dtype
        unknown = key in self.base_record and not self.base_record.knows(key, dtype)
        if unknown and dtype.is_floating_point and dtype not in self._casts:
            # A model that was cast: what the base is in that dtype is found out once.
            self._casts.add(dtype)
            self.base_record.note_cast(self.read_base_again(), dtype)
        return self.base_record.matches(key, tensor)

    def read_base_again(self) -> StateDict:
        """Return the base's tensors under the host's keys; nothing where the file is gone or is another one now."""
        location = str(self.base_checkpoint)
        if location.startswith(NAMED_BASE):
            return {}
        try:
            state, sha256 = read_base(location)
        except (OSError, ValueError) as error:
            print_log(f'{type(self).__name__}: {error}', 'current', logging.WARNING)
            return {}
        return self.as_base(state) if sha256 == self.base_sha256 else {}

    def as_base(self, state: StateDict) -> StateDict:
        """Return a backbone's tensors as this one's base has them: host's keys, position tables fitted, no removed blocks."""
        own = tensors_of(self)
        state = {key: value for key, value in self.base_keys(state).items() if not self.is_removed(key)}
        return {k: fit(v, own[k]) if k in own and k.endswith(POSITION_TABLE) else v for k, v in state.items()}

    def is_computed(self, key: str) -> bool:
        """Whether a state-dict key (without prefix) belongs to a table that the model computes."""
        return bool(self.computed.search(key))

    def is_removed(self, key: str) -> bool:
        """Whether a key (without prefix) belongs to a block that was pruned here, or taken out singly for a comparison."""
        match = self.block_pattern.match(key)
        if match is None:
            return False
        stage, block = int(match.groupdict().get('stage') or 0), int(match['block'])
        if stage >= len(self.depths) or block >= self.depths[stage]:
            return False
        return block >= self.kept_depths[stage] or not any(True for _ in self.block_lists()[stage][block].parameters())
