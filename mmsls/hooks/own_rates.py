"""Learning rates of what is trained inside a frozen backbone: the optimizer's own, not the backbone's slowed one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mmsls.adapters.base import Adapter
from mmsls.checkpoint import frozen_backbones
from mmsls.hooks.rate_settings import RateSettings

PER_GROUP = ('base_values', '_last_value', 'min_values')
"""Lists of MMEngine's schedulers that hold one entry per parameter group."""


@dataclass(frozen=True)
class Optimizing:
    """One optimizer of a run.

    Attributes:
        name: Its name where a run has several, else ''.
        wrapper: MMEngine's wrapper round it.
        schedulers: Those that change its parameter groups.
        settings: What the config says of it.
    """

    name: str
    wrapper: OptimWrapper
    schedulers: list[Any]
    settings: RateSettings

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Its parameter groups."""
        return self.wrapper.optimizer.param_groups


@dataclass(frozen=True)
class Raised:
    """A tensor whose rate was raised.

    Attributes:
        name: Its name in the model.
        old: The rate before warm-up that it had.
        new: The one that it has.
        line: The line of the config that slowed it.
    """

    name: str
    old: float
    new: float
    line: str


def optimizers(runner: Any) -> Iterator[Optimizing]:
    """Yield the built optimizers of a training run."""
    wrapper, cfg = runner.optim_wrapper, runner.cfg.get('optim_wrapper')
    several = isinstance(wrapper, OptimWrapperDict)
    for name, one in wrapper.items() if several else [('', wrapper)]:
        if not isinstance(one, OptimWrapper):
            continue
        part = cfg.get(name) if several and isinstance(cfg, Mapping) else cfg
        settings = RateSettings(part, f'optim_wrapper.{name}' if several else 'optim_wrapper')
        schedulers = [s for s in flat(runner.param_schedulers) if getattr(s, 'optimizer', None) in (one, one.optimizer)]
        yield Optimizing(name, one, schedulers, settings)


def flat(schedulers: Any) -> list[Any]:
    """Return built schedulers as one list; MMEngine keeps None, a list, or a list per optimizer."""
    if isinstance(schedulers, Mapping):
        return [scheduler for part in schedulers.values() for scheduler in flat(part)]
    return list(schedulers) if isinstance(schedulers, list) else []


def rate_of(group: Mapping[str, Any]) -> float:
    """Return a group's rate before any schedule."""
    return group.get('initial_lr', group['lr'])


def new_tensors(model: nn.Module) -> dict[int, tuple[str, int]]:
    """Return what is trained inside frozen backbones, by identity: its name in the model and where its part begins.

    Adapters, output norms and what a `Selection` trains; what was unfrozen by hand is the base's, and is left to the
    config.
    """
    found: dict[int, tuple[str, int]] = {}
    for name, backbone in frozen_backbones(model):
        prefix = f'{name}.' if name else ''
        parts = backbone.trainable_modules()
        for part, module in parts.items():
            place = len(prefix) + len(part)
            # 'backbone.norm' in a stock config means all norms, not the new `norm3`; 'blocks.0' is not yet its
            # `adapters`.
            own = len(prefix) + part.find('adapters') if isinstance(module, Adapter) else place - 1
            found |= {id(p): (f'{prefix}{part}.{leaf}', own) for leaf, p in module.named_parameters()}
        for selected in backbone.selected:
            full = prefix + selected
            found[id(backbone.get_parameter(selected))] = (full, full.rfind('.') + 1)
    return found


def batch_ratio(runner: Any) -> float:
    """Return what `auto_scale_lr` multiplied every rate by (MMEngine leaves the optimizer's defaults as they were)."""
    scaling = getattr(runner, 'auto_scale_lr', None) or getattr(runner, '_auto_scale_lr', None)  # FlexibleRunner's
    if not scaling or not scaling.get('enable', False):
        return 1.0
    loader = runner._train_dataloader
    batch = loader['batch_size'] if isinstance(loader, Mapping) else loader.batch_size
    return float(runner.world_size * batch) / float(scaling['base_batch_size'])


def give_own_rates(model: nn.Module, optimizing: Optimizing, ratio: float = 1.0) -> list[Raised]:
    """Raise new tensors inside frozen backbones to the optimizer's own rate, where the config slows the backbone.

    A rate that a custom key gives to the adapter by name stays, as do higher rates, weight decay, and what a OneCycle
    schedule sets absolutely.

    Args:
        model: The model as the optimizer's constructor saw it, unwrapped.
        optimizing: One optimizer of the run.
        ratio: `batch_ratio`.

    Returns:
        What was raised.
    """
    optimizer, settings = optimizing.wrapper.optimizer, optimizing.settings
    new, raised = new_tensors(model), []
    base = optimizer.defaults.get('lr')
    if base is None:
        return []
    base *= ratio
    factor = schedule_factor(optimizing)
    for index, group in enumerate(list(optimizing.groups)):
        old = rate_of(group)
        if old >= base * (1 - 1e-6) or 'max_lr' in group:
            continue
        here = [p for p in group['params'] if id(p) in new and settings.slows_a_backbone(*new[id(p)])]
        if not here:
            continue
        place = index if len(here) == len(group['params']) else split(optimizing, index, here)
        set_rate(optimizing, place, base, factor)
        names = [new[id(p)][0] for p in here]
        raised += [Raised(name, old, base, settings.line_for(name)) for name in names]
    return raised


def schedule_factor(optimizing: Optimizing) -> float:
    """Return by what the schedules multiply rates now: warm-up begins before any hook. A rate of 0 does not tell."""
    tracked = getattr(optimizing.wrapper, 'base_param_settings', None)
    for group in (*([tracked] if tracked else []), *optimizing.groups):
        if group.get('initial_lr', 0) > 0:
            return group['lr'] / group['initial_lr']
    return 1.0


def set_rate(optimizing: Optimizing, index: int, base: float, factor: float) -> None:
    """Give a group a rate before its schedule, and what the schedules make of it now."""
    group = optimizing.groups[index]
    group['lr'] = base * factor
    if 'initial_lr' in group:
        group['initial_lr'] = base
    for scheduler in optimizing.schedulers:
        if scheduler.param_name == 'lr':
            for name, value in (('base_values', base), ('_last_value', group['lr'])):
                if hasattr(scheduler, name):
                    getattr(scheduler, name)[index] = value


def split(optimizing: Optimizing, index: int, params: list[nn.Parameter]) -> int:
    """Move some parameters of a group to a new one with the same settings, and return where it stands."""
    optimizer, group = optimizing.wrapper.optimizer, optimizing.groups[index]
    moved, place = {id(p) for p in params}, len(optimizer.param_groups)
    inside = [id(p) in moved for p in group['params']]
    taken = {**group, 'params': params}
    # Lists beside the parameters, such as the names that the hosts' layer-wise decay keeps.
    for key in [k for k, v in group.items() if isinstance(v, list) and len(v) == len(inside)]:
        taken[key] = [value for value, here in zip(group[key], inside, strict=True) if here]
        group[key] = [value for value, here in zip(group[key], inside, strict=True) if not here]
    optimizer.add_param_group(taken)
    for scheduler in optimizing.schedulers:
        for name in PER_GROUP:
            if hasattr(scheduler, name):
                # Not at the end: there MMEngine's wrapper keeps what it logs as the base rate.
                getattr(scheduler, name).insert(place, getattr(scheduler, name)[index])
    return place
