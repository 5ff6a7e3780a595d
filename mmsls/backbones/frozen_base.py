"""A backbone on a frozen base: what is trained and stored, how its state dict is written and read, which base it is."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.backbones.base_files import StateDict, read_base
from mmsls.backbones.base_record import BaseRecord
from mmsls.backbones.base_weights import POSITION_TABLE, fit
from mmsls.backbones.family import BackboneFamily
from mmsls.backbones.identity import EXTRA_STATE, pack_identity, unpack_identity
from mmsls.backbones.loading import renumber, take_task
from mmsls.backbones.plain_loading import take_plain
from mmsls.backbones.state import keys_under, tensors_of

NAMED_BASE = 'sha256:'
"""Starts a `base_checkpoint` that names no file: the base's weights come with a full checkpoint (mmsls merge)."""


class FrozenBase(BackboneFamily):
    """A backbone whose base is frozen.

    The state dict of a backbone with a base carries one more tensor, `_extra_state` (uint8, JSON): the base's SHA-256,
    the kept depths and the adapter. Loading checks it, because `init_detector` and its kin show the model nothing else
    of a checkpoint. A task stores what it trains and whatever of the base is not the base's any more; the rest comes
    from the base file (see `loading`).
    """

    selected: frozenset[str] = frozenset()
    """Parameters of the base that a `Selection` trains."""
    awaits_base: bool = False
    """Whether `base_checkpoint` names the base without a file, and no full checkpoint has brought it yet."""
    base_record: BaseRecord
    """What the frozen tensors were when the base was loaded."""
    _casts: set[torch.dtype]
    """Other dtypes that the base was compared in."""

    # What is trained.

    def trainable_modules(self) -> dict[str, nn.Module]:
        """Return the parts that are trained and stored on a frozen base, by name: adapters, bridges, output norms."""
        adapters = {name: module for name, module in self.named_modules() if isinstance(module, Adapter)}
        return {**adapters, **self.bridges(), **self.output_norms()}

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

    # State dict.

    def _save_to_state_dict(self, destination: MutableMapping[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.base_sha256 is not None:
            destination[prefix + EXTRA_STATE] = pack_identity(self.foundation())

    def _load_from_state_dict(self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any) -> None:
        packed = state_dict.pop(prefix + EXTRA_STATE, None)
        if self.base_sha256 is None:
            if self.subset:
                renumber(self, state_dict, prefix, self.numbers_in(keys_under(state_dict, prefix)))
            if packed is not None:
                raise ValueError(
                    f'this checkpoint was trained on a frozen base (sha256 {unpack_identity(packed).base_sha256}), '
                    f'and {type(self).__name__} has none: set base_checkpoint and adapter as in its training config'
                )
        elif packed is None:
            take_plain(self, state_dict, prefix, args[2], args[3])  # PyTorch's missing and unexpected keys so far
        else:
            theirs = unpack_identity(packed)
            changed = take_task(self, state_dict, prefix, theirs)
            if self.awaits_base:
                self._note_base(state_dict, prefix, changed)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _note_base(self, state: Mapping[str, Tensor], prefix: str, changed: Collection[str] = ()) -> None:
        """Record the base, from a state that holds it whole; what is known to differ is left out, so always stored."""
        prefixes = tuple(f'{name}.' for name in self.trainable_modules())
        self.base_record = BaseRecord()
        for key in tensors_of(self):
            if not key.startswith(prefixes) and key not in changed:
                self.base_record.note(key, state[prefix + key])
        self.awaits_base = False

    def _refuse_without_base(self, *_: Any) -> None:
        if self.awaits_base:
            raise RuntimeError(
                f'base_checkpoint={self.base_checkpoint!r} names no file: load the full checkpoint before using the '
                'model'
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

    def as_base(self, state: StateDict, numbers: Sequence[Sequence[int]] | None = None) -> StateDict:
        """Return a backbone's tensors as this base has them: host's keys, fitted position tables, no removed blocks.

        Args:
            state: The tensors, in any style.
            numbers: Which blocks they are of, see `key_here`; by default all.
        """
        own = tensors_of(self)
        state = self.tensors_here(self.base_keys(state), numbers)
        return {k: fit(v, own[k]) if k in own and k.endswith(POSITION_TABLE) else v for k, v in state.items()}
