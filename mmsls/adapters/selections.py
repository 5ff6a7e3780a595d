"""Methods without modules of their own: which parameters of the base they train."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from mmsls.adapters.base import Adapter
from mmsls.registry import ADAPTERS

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


class Selection(Adapter):
    """A method that adds nothing and trains some parameters of the base, in the whole backbone or chosen blocks."""

    mergeable = True

    def __init__(self, embed_dims: int) -> None:
        super().__init__(embed_dims)

    @classmethod
    def selects(cls, module: nn.Module, name: str) -> bool:
        """Whether a parameter is trained.

        Args:
            module: The module that owns it.
            name: Its name there.
        """
        raise NotImplementedError


@ADAPTERS.register_module()
class BitFit(Selection):
    """Train every bias (Ben Zaken et al., ACL 2022, arXiv 2106.10199)."""

    @classmethod
    def selects(cls, module: nn.Module, name: str) -> bool:  # noqa: ARG003
        """Whether a parameter is a bias; Swin's table of position biases is none."""
        return name.endswith('bias')


@ADAPTERS.register_module()
class NormTuning(Selection):
    """Train weight and bias of every norm (Giannou et al., COLT 2023, arXiv 2302.07937)."""

    @classmethod
    def selects(cls, module: nn.Module, name: str) -> bool:  # noqa: ARG003
        """Whether a parameter belongs to a norm."""
        return isinstance(module, NORMS)


@ADAPTERS.register_module()
class HeadOnly(Selection):
    """Train nothing of the base: heads, and output norms that no base holds, are trained anyway."""

    @classmethod
    def selects(cls, module: nn.Module, name: str) -> bool:  # noqa: ARG003
        """Select nothing."""
        return False


def selected_parameters(cls: type[Selection], backbone: nn.Module, parts: Iterable[nn.Module]) -> frozenset[str]:
    """Return the names in the backbone of what a selection trains in some of its parts."""
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    return frozenset(
        f'{prefix}.{name}' if prefix else name
        for prefix, module in backbone.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if id(parameter) in inside and cls.selects(module, name)
    )
