"""What of a slim checkpoint found no place or counterpart outside the frozen backbone: MMEngine only logs it."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.logging import print_log
from torch import nn
from torch.utils.hooks import RemovableHandle

from mmsls.backbones.base_weights import SHOWN
from mmsls.checkpoint import frozen_backbones

COUNTED = 'num_batches_tracked'
"""Counters of batch norms, which MMEngine's loader lets go too."""


class LoadReport:
    """Watches one load of a model, seeing it as the hosts' own renaming of keys leaves it.

    Args:
        refuses: Whether a missing or misshapen tensor is an error; otherwise a warning.
    """

    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses
        self._errors: list[str] = []
        self._own: tuple[str, ...] = ()

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """Watch until the handles are removed."""
        self._own = tuple(f'{name}.' if name else '' for name, _ in frozen_backbones(model))
        return [
            model._register_load_state_dict_pre_hook(self._begin),
            model.register_load_state_dict_post_hook(self._end),
        ]

    def _begin(self, *arguments: Any) -> None:
        self._errors = arguments[6]  # of PyTorch's arguments, the messages of tensors that don't fit

    def _end(self, _: nn.Module, incompatible: Any) -> None:
        missing = [key for key in incompatible.missing_keys if self._concerns(key)]
        misshapen = [' '.join(message.split())[:160] for message in self._errors]
        surplus = [key for key in incompatible.unexpected_keys if self._concerns(key)]
        if self.refuses and (missing or misshapen):
            raise ValueError(
                f'this slim checkpoint does not fit the model: {len(missing)} tensors outside the backbone are missing '
                f'and {len(misshapen)} are misshapen, they would be random: '
                f'{"; ".join([*missing, *misshapen][:SHOWN])}; use the config that it was trained with'
            )
        self._say('of the checkpoint have no place in the model', surplus)
        self._say('are not in the checkpoint and start anew', missing)
        self._say('do not fit and start anew', misshapen)

    def _concerns(self, key: str) -> bool:
        """Whether a key lies outside the frozen backbones, which check their own."""
        return not key.startswith(self._own) and COUNTED not in key

    def _say(self, what: str, names: list[str]) -> None:
        if names:
            text = f'SlimCheckpointHook: {len(names)} tensors outside the backbone {what}: {"; ".join(names[:SHOWN])}'
            print_log(text, 'current', logging.WARNING)
