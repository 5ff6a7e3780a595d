"""Linear layers and norms whose parameters are seen through an adapter."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

ADAPTER = '_mmsls_adapter'


def see_through(module: nn.Module, names: tuple[str, str], adapter: Any) -> None:
    """Let a module compute with what an adapter makes of its weight and bias; parameters and state-dict keys stay.

    Whatever code reads the two attributes gets the adapted tensors: `nn.Linear`, the fused attentions, and
    `nn.MultiheadAttention`, which never calls a module for its q, k and v. Nothing is swapped during a forward pass, so
    threads, copies and activation checkpointing need no care.

    Args:
        module: Owner of the parameters.
        names: Attributes that hold weight and bias.
        adapter: Its `adapted_weight(weight)` and `adapted_bias(bias)` say what is seen.
    """
    cls: Any = type(module)
    module.__class__ = seeing_class(cls, *names)
    # Not as an attribute: the adapter is a child of the block, and must not be one of the host's layer as well.
    module.__dict__[ADAPTER] = adapter


def forget(module: nn.Module) -> None:
    """Undo `see_through`."""
    if is_adapted(module):
        del module.__dict__[ADAPTER]
        module.__class__ = type(module).__bases__[0]


@cache
def seeing_class(cls: type[nn.Module], weight: str, bias: str) -> type[nn.Module]:
    """Return a subclass whose two attributes are properties."""

    def view(name: str, method: str) -> property:
        def read(self: nn.Module) -> Tensor | None:
            return getattr(self.__dict__[ADAPTER], method)(self._parameters[name])

        return property(read)

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return (new_seeing, (cls, weight, bias), *object.__reduce_ex__(self, protocol)[2:])

    members: dict[str, Any] = {weight: view(weight, 'adapted_weight'), bias: view(bias, 'adapted_bias')}
    return type(cls.__name__, (cls,), members | {'__reduce_ex__': reduce})


def new_seeing(cls: Any, weight: str, bias: str) -> nn.Module:
    """Return an empty module of a class that pickle cannot find by its name; the caller fills it."""
    return nn.Module.__new__(seeing_class(cls, weight, bias))


def is_adapted(module: nn.Module) -> bool:
    """Whether a module computes through an adapter."""
    return ADAPTER in module.__dict__
