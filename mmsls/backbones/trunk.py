"""What several backbones on one base compute alike, from the patch embedding up: run once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from itertools import takewhile
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from mmsls.backbones.base import PrunedBackbone
from mmsls.backbones.identity import EXTRA_STATE

HARMLESS = frozenset(
    [
        *('out_indices', 'final_norm', 'out_type', 'out_origin', 'output_cls_token', 'with_cp', 'init_cfg'),
        *('pretrained', 'convert_weights', 'frozen_stages', 'drop_rate', 'drop_path_rate', 'attn_drop_rate'),
    ]
)
"""Arguments of the hosts that change nothing of what lower blocks compute in eval mode."""


class ThreadPass(threading.local):
    """What one thread's last passes left behind.

    Attributes:
        image: A copy of the input of the passes that `outputs` are of; whoever owns that may write into it.
        owner: The backbone that had it first.
        mode: Precision that they ran in.
        outputs: By place in the trunk.
        given: The pass under way takes what lies up to this place from `outputs`.
        strict: Whether another input is an error.
    """

    def __init__(self) -> None:
        self.image: Tensor | None = None
        self.owner = ''
        self.mode: tuple[Any, ...] = ()
        self.outputs: dict[int, Any] = {}
        self.given = -1
        self.strict = False


class SharedTrunk:
    """Let backbones take from each other what they compute alike, in place.

    Whichever backbone sees an input first runs whole; the others start where they part from what was run. A backbone
    that sees another input runs it. Every thread has its own passes, and keeps what the last one gave until `forget`.

    Args:
        backbones: By name. They are in eval mode and stay as they are: what is loaded into one later is not noticed.

    Attributes:
        shared: How many blocks each backbone can take from the others, by name.
        runs: How often an input was met first.

    Raises:
        ValueError: If one of them has nothing to share, and why.
    """

    def __init__(self, backbones: Mapping[str, PrunedBackbone]) -> None:
        self.runs = 0
        self._thread = ThreadPass()
        units = {name: bare_units(name, backbone) for name, backbone in backbones.items()}
        check_alike(backbones, units)
        self.shared = {name: blocks_among(backbones[name], found) for name, found in units.items()}
        self._kept = {len(found) - 1 for found in units.values()}
        for name, found in units.items():
            read = {id(module) for module in backbones[name].read_modules()}
            self._kept |= {place for place, unit in enumerate(found) if id(unit) in read}
        for name, found in units.items():
            for place, unit in enumerate(found):
                unit.__dict__['forward'] = partial(self._run, place, unit.forward)
            backbones[name].register_forward_pre_hook(partial(self._begin, name, len(found)))

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise TypeError('a model that shares its trunk cannot be copied: copy the one of the library')

    def forget(self) -> None:
        """Let go of what this thread's last pass gave."""
        self._thread.__init__()  # type: ignore[misc]

    def one_input(self) -> None:
        """Refuse, in this thread and until `forget`, all inputs but the one that comes next."""
        self.forget()
        self._thread.strict = True

    def _begin(self, name: str, count: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        image, now = inputs[0], self._thread
        if not same_image(now.image, image) or now.mode != precision():
            if now.strict and now.image is not None:
                raise ValueError(
                    f'together: {name!r} sees the image as {told(image)}, {now.owner!r} as {told(now.image)}: give '
                    'their tasks one test_pipeline (Resize) and one data_preprocessor (size, padding, mean, std)'
                )
            now.image, now.owner, now.mode, now.outputs = image.detach().clone(), name, precision(), {}
            self.runs += 1
        now.given = max((place for place in now.outputs if place < count), default=-1)

    def _run(self, place: int, forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        now = self._thread
        if place <= now.given:
            # What is not kept nobody reads: a block that is given too comes next.
            return copied(now.outputs[place]) if place in now.outputs else x
        out = forward(x, *args, **kwargs)
        if place in self._kept:
            now.outputs[place] = copied(out)
        return out


def bare_units(name: str, backbone: PrunedBackbone) -> list[nn.Module]:
    """Return the lowest parts of a backbone that compute as the base alone does, bottom first.

    Raises:
        ValueError: If no block is among them.
    """
    names = {id(module): path for path, module in backbone.named_modules()}
    own = [key for key in backbone.stored_keys() if key != EXTRA_STATE]
    units = [(f'{names[id(module)]}.', module) for module in backbone.trunk()]
    tops = tuple(f'{names[id(block)]}.' for blocks in backbone.block_lists() for block in blocks)
    known = (*(prefix for prefix, _ in units), *tops, *(f'{part}.' for part in backbone.trainable_modules()))
    below = [key for key in own if not key.startswith(known)]
    bare = list(takewhile(lambda unit: not any(key.startswith(unit[0]) for key in own), units))
    found = [] if below else [module for _, module in bare]
    if not blocks_among(backbone, found):
        lowest = [key for key in own if len(bare) < len(units) and key.startswith(units[len(bare)][0])]
        first = next(iter([*lowest, *below]), None)
        own_one = f'{first} is its own: tune with adapter=dict(..., blocks=[...]), upper ones'
        reason = own_one if first else 'its lowest block was removed'
        raise ValueError(f'together: {name!r} shares no block: {reason}')
    return found


def blocks_among(backbone: PrunedBackbone, modules: list[nn.Module]) -> int:
    """Return how many of some parts of a backbone are blocks."""
    blocks = {id(block) for _, block in backbone.iter_blocks()}
    return sum(id(module) in blocks for module in modules)


def check_alike(backbones: Mapping[str, PrunedBackbone], units: Mapping[str, list[nn.Module]]) -> None:
    """Refuse backbones whose lower blocks differ.

    Raises:
        ValueError: Naming what differs, with both values.
    """
    (name, first), *others = backbones.items()
    for other, backbone in others:
        ours, theirs = facts(first), facts(backbone)
        for key in dict.fromkeys([*ours, *theirs]):
            if ours.get(key) != theirs.get(key):
                raise ValueError(
                    f'together: {name!r} and {other!r} share no trunk, their backbones have {key} {ours.get(key)!r} '
                    f'and {theirs.get(key)!r}'
                )
        for left, right in zip(units[name], units[other], strict=False):
            kinds = [[type(part).__name__ for part in unit.modules()] for unit in (left, right)]
            if kinds[0] != kinds[1]:
                raise ValueError(
                    f'together: {name!r} and {other!r} compute their lower blocks in different ways '
                    f'({type(left).__name__}, {type(right).__name__}; fused_attention must be the same)'
                )


def facts(backbone: PrunedBackbone) -> dict[str, Any]:
    """Return what two backbones must agree in to compute the same: family, base, and what their host was given."""
    args, kwargs = backbone._host_arguments
    given = plain({**dict(enumerate(args)), **kwargs})
    return {'family': backbone.family, 'base_sha256': backbone.base_sha256, **given}


def plain(value: Any) -> Any:
    """Return a config's value with lists for tuples, without what changes nothing in lower blocks."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if key not in HARMLESS}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def copied(out: Any) -> Any:
    """Return what a part put out, tensors copied: a head may write into what it reads."""
    if isinstance(out, tuple):
        return tuple(copied(part) for part in out)
    return out.clone() if isinstance(out, Tensor) else out


def precision() -> tuple[Any, ...]:
    """Return what else than its input decides what a pass gives."""
    return torch.is_autocast_enabled(), torch.is_autocast_cpu_enabled(), torch.is_inference_mode_enabled()


def same_image(ours: Tensor | None, theirs: Tensor) -> bool:
    """Whether two inputs are one, so that what was computed of one is of the other; not where a gradient is wanted."""
    if ours is None or theirs.requires_grad or ours.device != theirs.device or ours.dtype != theirs.dtype:
        return False
    return ours.shape == theirs.shape and torch.equal(ours, theirs)


def told(image: Tensor) -> str:
    """Say what an input is, by size and range.

    Example:
        >>> told(torch.zeros(1, 3, 4, 6))
        '3x4x6 (0 to 0)'
    """
    return f'{"x".join(map(str, image.shape[1:]))} ({image.min():.3g} to {image.max():.3g})'
