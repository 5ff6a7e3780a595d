"""Which trained tensors get no gradient, and which no learning rate to speak of; what may mend that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from mmsls.checkpoint import frozen_backbones
from mmsls.hooks.own_rates import Optimizing, rate_of

SLOWEST = 0.01
"""Least share of an optimizer's largest rate that a tensor must have to learn."""
SHOWN = 3


class GradientWatch:
    """Notes which trained tensors of a model get a gradient, until it is closed.

    A gradient of zeros is one: behind a zero-initialised layer it must be so in the first step.

    Args:
        model: The model, unwrapped.
    """

    def __init__(self, model: nn.Module) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.silent = dict.fromkeys(trained)
        self._handles = [parameter.register_hook(self._listener(name)) for name, parameter in trained.items()]
        # Tensors that stand or fall together: each backbone's (on its own, one by one), each other part's as a whole.
        self.inside = {
            name for where, _ in frozen_backbones(model) for name in trained if name.startswith(dotted(where))
        }
        self._parts: dict[str, list[str]] = {}
        for name in trained:
            if name not in self.inside:
                self._parts.setdefault(name.split('.')[0], []).append(name)

    def _listener(self, name: str) -> Any:
        def heard(_: Tensor) -> None:
            self.silent.pop(name, None)

        return heard

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def idle(self) -> list[str]:
        """Return the tensors without a gradient so far.

        Outside a frozen backbone a part counts as a whole: hosts have branches of heads that a batch may leave out.
        """
        idle = [name for name in self.silent if name in self.inside]
        for names in self._parts.values():
            idle += names if all(name in self.silent for name in names) else []
        return idle

    def is_certain(self) -> bool:
        """Whether one step is enough to tell: nothing inside the frozen backbones had a gradient."""
        return bool(self.inside) and all(name in self.silent for name in self.inside)


def dotted(name: str) -> str:
    """Return a module's name as the prefix of its tensors' names."""
    return f'{name}.' if name else ''


def too_slow(model: nn.Module, optimizing: Optimizing) -> dict[str, float]:
    """Return an optimizer's trained tensors with a rate of 0 or under 1/100 of its largest, before any schedule."""
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    rates = {names[id(p)]: rate_of(group) for group in optimizing.groups for p in group['params'] if id(p) in names}
    most = max(rates.values(), default=0.0)
    return {name: rate for name, rate in rates.items() if rate <= 0 or rate < SLOWEST * most}


def left_out(model: nn.Module, optimizing: Iterable[Optimizing]) -> list[str]:
    """Return the trained tensors that no optimizer holds."""
    held = {id(p) for one in optimizing for group in one.groups for p in group['params']}
    return [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]


def gradient_advice(model: nn.Module, idle: list[str]) -> str:
    """Say what the likely cause is, and the line that mends it."""
    for name, backbone in frozen_backbones(model):
        prefix = dotted(name)
        norms = backbone.output_norms()
        unread = [norm for norm in norms if f'{prefix}{norm}.weight' in idle]
        if unread and len(unread) < len(norms):
            read = [index for index, norm in zip(backbone.out_indices, norms, strict=True) if norm not in unread]
            return (
                f'no loss reads the outputs of {", ".join(unread)}; set model.{prefix}out_indices={tuple(read)}, or '
                'have a head read them'
            )
    return (
        'something between them and the loss cuts the graph (torch.no_grad, detach, a torch.utils.checkpoint that is '
        'reentrant: set use_reentrant=False), or no loss reads what they make; mend that module, or take them out with '
        'adapter=None'
    )


def some(names: Iterable[str] | Mapping[str, Any]) -> str:
    """Say the first few names and how many there are."""
    listed = list(names)
    rest = f' and {len(listed) - SHOWN} more' if len(listed) > SHOWN else ''
    return ', '.join(listed[:SHOWN]) + rest
