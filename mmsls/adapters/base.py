"""The contract that every adapter meets."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mmsls.adapters.functional import is_plain
from mmsls.adapters.placement import PLACEMENT, normalise_placement
from mmsls.registry import ADAPTERS, short_name

GIVEN = frozenset({'embed_dims', 'slot', 'weight', 'bias'})
"""Arguments of an adapter's constructor that the block gives, not the config."""


PLACES = ('input', 'parallel', 'output', 'stream')
"""Places of a branch that are no layer."""
PARTS = {'attn_qkv': ('attn_q', 'attn_k', 'attn_v'), 'ffn_fc1': ('ffn_gate', 'ffn_value')}
"""Slots that are one layer in some hosts and several in others: unfused attention, a gated FFN."""


class Adapter(nn.Module):
    """A small trainable module at one slot of a frozen transformer block.

    A pre-norm block has two branches, `attn` and `ffn`, and each branch four places. With `h = norm(x)`:

    | place      | the branch becomes                  | the adapter returns       |
    |------------|-------------------------------------|---------------------------|
    | `input`    | `x + op(adapter(h))`                | the new input of `op`     |
    | `parallel` | `x + op(h) + adapter(h)`            | what is added             |
    | `output`   | `x + adapter(op(h))`                | the new output of `op`    |
    | `stream`   | `adapter(x + op(h))`                | the new residual stream   |

    A subclass names its slots as `'{branch}_{place}'` and gets one instance per slot and block. A new adapter is the
    identity of the block. Two kinds have other places: `LayerAdapter` sits at a layer of a branch (`norm`, `qkv`,
    `proj`; `norm`, `fc1`, `fc2`) and changes the weight and bias that it sees; `Selection` has no slots and trains
    parameters of the base.

    Args:
        embed_dims: Width C of the block.
        rank: Bottleneck width, at least 1.
        scale: Factor of the adapter's output.

    Raises:
        ValueError: If `rank` is not a positive integer, or `scale` not a finite number.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    mergeable: ClassVar[bool] = False
    training_only: ClassVar[frozenset[str]] = frozenset()
    """Arguments that change training but not the function that a loaded adapter computes."""

    def __init__(self, embed_dims: int, rank: int = 8, scale: float = 1.0) -> None:
        super().__init__()
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f'adapter.rank must be a positive integer, got {rank!r}')
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
            raise ValueError(f'adapter.scale must be a finite number, got {scale!r}')
        self.embed_dims, self.rank, self.scale = embed_dims, rank, float(scale)

    @classmethod
    def slots_for(cls, **arguments: Any) -> tuple[str, ...]:  # noqa: ARG003
        """Return the slots that a config's arguments ask for."""
        return cls.slots

    @classmethod
    def parts_for(cls, slot: str, parts: tuple[str, ...], **arguments: Any) -> tuple[str, ...]:  # noqa: ARG003
        """Return which parts of a slot are meant, where a host has several layers in its place."""
        return parts

    @classmethod
    def for_slot(cls, slot: str, embed_dims: int, layer: Any, **arguments: Any) -> Adapter:  # noqa: ARG003
        """Build the instance of one slot; `layer` is where a `LayerAdapter` sits, else None."""
        return cls(embed_dims, **arguments)

    def reset_parameters(self) -> None:
        """Initialise as published; afterwards the adapter is the identity of the block."""
        raise NotImplementedError

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Adapt the tokens.

        Args:
            x: Tokens, (B, K + H * W, C); the K extra tokens (class token) come first.
            hw_shape: The token grid (H, W).

        Returns:
            Tokens of the same shape.
        """
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take the way in one pass from a class that has a `forward` of its own and inherits that way."""
        super().__init_subclass__(**kwargs)
        if 'forward' in vars(cls) and '_add_to' not in vars(cls):
            cls._add_to = Adapter._add_to  # type: ignore[method-assign]

    def add_to(self, stream: Tensor, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return `stream + self(x, hw_shape)` of an adapter beside a branch.

        It is done in one pass where the class has one (`_add_to`) and nobody hooks into `forward` or wraps it.
        """
        return self._add_to(stream, x, hw_shape) if is_plain(self) else stream + self(x, hw_shape)

    def _add_to(self, stream: Tensor, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return stream + self(x, hw_shape)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Fold this adapter into the linear layer that follows its slot.

        Args:
            weight: Weight of that layer, (out, C).
            bias: Its bias, (out,), or None.

        Returns:
            Weight and bias of a layer that computes both in one.

        Raises:
            ValueError: If the method has no exact merge.
        """
        raise ValueError(f'adapter.type: {type(self).__name__} cannot be merged into the base: it is not linear')

    def extra_repr(self) -> str:
        """Show the width, rank and scale."""
        return f'embed_dims={self.embed_dims}, rank={self.rank}, scale={self.scale}'


def adapter_class(cfg: Mapping[str, Any]) -> type[Adapter]:
    """Look up the class that `cfg['type']` means; nothing is imported.

    The type is the class itself, its name, with scope or not, or its dotted path.

    Raises:
        ValueError: If the type is absent or unknown; the message lists the known ones.
    """
    name = cfg.get('type')
    # Not ADAPTERS.get: mmengine 0.10 imports whatever module a dotted name points at.
    paths = {f'{cls.__module__}.{cls.__qualname__}': cls for cls in ADAPTERS.module_dict.values()}
    found = name if inspect.isclass(name) else paths.get(str(name)) or ADAPTERS.module_dict.get(short_name(name) or '')
    if not inspect.isclass(found) or not issubclass(found, Adapter):
        raise ValueError(f'adapter.type: unknown adapter {name!r}; known: {", ".join(sorted(ADAPTERS.module_dict))}')
    return found


def config_parameters(cls: type[Adapter]) -> dict[str, inspect.Parameter]:
    """Return the constructor's arguments that a config may set: all but those that the block gives."""
    return {name: spec for name, spec in inspect.signature(cls).parameters.items() if name not in GIVEN}


def normalise_adapter_cfg(cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Spell an adapter config out: short type name and every argument with its default, JSON-able.

    Besides the method's own arguments it may hold `stages` and `blocks`: which blocks get an adapter, counted from 0,
    `blocks` within each stage.

    Raises:
        ValueError: If the type is unknown, an argument does not exist, or `stages` or `blocks` hold anything but
            numbers.

    Example:
        >>> from mmsls.adapters import normalise_adapter_cfg
        >>> normalise_adapter_cfg(dict(type='mmsls.Convpass', rank=4))
        {'type': 'Convpass', 'rank': 4, 'scale': 1.0, 'dropout': 0.1, 'xavier_init': False}
    """
    if cfg is None:
        return None
    if not isinstance(cfg, Mapping):
        raise ValueError(f"adapter must be a config like dict(type='mmsls.Convpass', rank=8), or None, got {cfg!r}")
    cls = adapter_class(cfg)
    known = config_parameters(cls)
    placement = normalise_placement(cfg)
    try:
        bound = inspect.Signature(list(known.values())).bind(
            **{key: value for key, value in cfg.items() if key not in ('type', *PLACEMENT)}
        )
    except TypeError as error:
        names = ', '.join((*known, *PLACEMENT))
        raise ValueError(f'adapter: {error} for {cls.__name__}; its arguments are {names}') from error
    bound.apply_defaults()
    # As JSON gives it back: a checkpoint's config is compared with the model's.
    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in bound.arguments.items()}
    return {'type': cls.__name__, **arguments, **placement}


def build_adapters(cfg: Mapping[str, Any], embed_dims: int, layers: Mapping[str, Any]) -> dict[str, Adapter]:
    """Build one adapter per slot of the method, for one block of width `embed_dims` whose layers lie at `layers`.

    Raises:
        ValueError: If the method sits at a layer that the block has not.
    """
    cls = adapter_class(cfg)
    arguments = {key: value for key, value in cfg.items() if key not in ('type', *PLACEMENT)}
    slots = [part for slot in cls.slots_for(**arguments) for part in slots_here(cls, slot, layers, arguments)]
    return {slot: cls.for_slot(slot, embed_dims, layers.get(slot), **arguments) for slot in slots}


def slots_here(
    cls: type[Adapter], slot: str, layers: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the slots of a block that stand for one of a method: itself, or those of the layers it falls into.

    Raises:
        ValueError: If it is a layer that the block has not.
    """
    if slot in layers or slot.partition('_')[2] in PLACES:
        return (slot,)
    parts = PARTS.get(slot, ())
    if not parts or any(part not in layers for part in parts):
        raise ValueError(
            f'adapter.type: {cls.__name__} sits at the layer {slot!r}, and the blocks of this backbone have none '
            f'with a weight of its own; theirs are {", ".join(layers)}'
        )
    return cls.parts_for(slot, parts, **arguments)
