"""What a config's `optim_wrapper` says of learning rates: which line gives a tensor its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAYER_DECAY = ('layer_decay_rate', 'decay_rate')
"""What the hosts' constructors of layer-wise decay call it: mmpretrain, mmdet and mmseg."""


class RateSettings:
    """The settings of one optimizer.

    Args:
        cfg: Its config, with `paramwise_cfg` and `constructor`; what is no config says nothing.
        path: How the config is reached, for messages.
    """

    def __init__(self, cfg: Any, path: str = 'optim_wrapper') -> None:
        self.path = path
        known = cfg if isinstance(cfg, Mapping) else {}
        self.paramwise: Mapping[str, Any] = known.get('paramwise_cfg') or {}
        self.constructor = known.get('constructor')
        self.layer_decay = next((key for key in LAYER_DECAY if key in self.paramwise), None)

    def key_of(self, name: str) -> str | None:
        """Return the custom key that MMEngine takes for a tensor: the longest that is part of its name."""
        keys = sorted(sorted(self.paramwise.get('custom_keys') or {}), key=len, reverse=True)
        return next((key for key in keys if key in name), None)

    def slows_a_backbone(self, name: str, own: int) -> bool:
        """Whether a tensor's rate is meant for the pre-trained weights around it.

        Args:
            name: The tensor's name in the model.
            own: Where in the name its own part begins (its adapter's name): a custom key that reaches so far means the
                tensor itself.
        """
        if self.layer_decay is not None:
            return True
        key = self.key_of(name)
        if key is not None:
            return name.rfind(key) + len(key) <= own
        return self.constructor is not None and not self._by_bias(name)

    def line_for(self, name: str) -> str:
        """Return the line of the config that decides a tensor's rate."""
        key = self.key_of(name)
        if self.layer_decay is not None:
            return f'{self.path}.paramwise_cfg.{self.layer_decay}={self.paramwise[self.layer_decay]}'
        if key is not None:
            chosen = self.paramwise['custom_keys'][key]
            setting = f'lr={chosen["lr"]}' if 'lr' in chosen else f'lr_mult={chosen.get("lr_mult", 1.0)}'
            return f'{self.path}.paramwise_cfg.custom_keys[{key!r}].{setting}'
        if self._by_bias(name):
            return f'{self.path}.paramwise_cfg.bias_lr_mult={self.paramwise["bias_lr_mult"]}'
        return (
            f'{self.path}.optimizer.lr' if self.constructor is None else f'{self.path}.constructor={self.constructor!r}'
        )

    def _by_bias(self, name: str) -> bool:
        return name.endswith('bias') and self.paramwise.get('bias_lr_mult') is not None
