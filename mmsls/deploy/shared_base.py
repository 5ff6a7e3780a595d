"""The frozen tensors of many tasks in one place in memory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone


class SharedBase:
    """The frozen tensors that the tasks have in common, by state-dict key at full depth.

    Every model has its own modules and parameters, and only the memory behind frozen parameters is one: `.half()`,
    `.to()`, `requires_grad_()`, merging and loading change what a model refers to, not the memory.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def adopt(self, backbone: PrunedBackbone) -> None:
        """Let a backbone's frozen parts use the shared memory; what no task had before becomes shared."""
        trained = set(backbone.stored_keys())
        for prefix, module in backbone.named_modules():
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                key = f'{prefix}.{name}' if prefix else name
                if tensor is not None and key not in trained:
                    # By `data`: the parameter stays the model's own, so what changes it changes no other model's.
                    tensor.data = self._shared(backbone.full_key(key) or key, tensor.detach())
            if module._parameters or module._buffers:
                # torch 2.1 has the public method not yet.
                module._register_load_state_dict_pre_hook(leave_before_loading, with_module=True)

    def _shared(self, key: str, tensor: Tensor) -> Tensor:
        """Return the shared tensor for a key; another host, image size or window may need one of its own."""
        known = self.tensors.setdefault(key, tensor)
        equal = known.shape == tensor.shape and known.dtype == tensor.dtype and torch.equal(known, tensor)
        return known if equal else tensor


def leave_before_loading(module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Give a module memory of its own for what is loaded into it: `load_state_dict` writes in place."""
    for table in (module._parameters, module._buffers):
        for name, tensor in table.items():
            value = state_dict.get(prefix + name)
            if tensor is not None and isinstance(value, Tensor) and not same_values(tensor, value):
                tensor.data = tensor.detach().clone()


def same_values(ours: Tensor, theirs: Tensor) -> bool:
    """Whether loading one tensor into another would change nothing."""
    return (
        ours.shape == theirs.shape and ours.dtype == theirs.dtype and torch.equal(ours.detach(), theirs.to(ours.device))
    )


def light_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model with parameters and buffers of its own whose memory is the model's."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
        memo |= {id(tensor): tensor.detach() for tensor in module._buffers.values() if tensor is not None}
    return deepcopy(model, memo)
