"""Which sampler belongs to which task, and building one from a config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from mmsls.features.image_sampler import ImageSampler
from mmsls.features.instance_sampler import InstanceSampler
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.samplers import Sampler

SAMPLERS: dict[str, Any] = {sampler.name: sampler for sampler in (ImageSampler, InstanceSampler, RegionSampler)}
BY_SCOPE = {'mmdet': 'InstanceSampler', 'mmpretrain': 'ImageSampler', 'mmseg': 'RegionSampler'}
"""A host's default scope to the sampler of its task."""


def sampler_for_scope(scope: str | None) -> str:
    """Name the sampler of a host's task.

    Raises:
        ValueError: If the scope has none.

    Example:
        >>> sampler_for_scope('mmdet')
        'InstanceSampler'
    """
    if scope not in BY_SCOPE:
        raise ValueError(
            f'default_scope {scope!r} has no sampler of its own; set sampler= to one of {sorted(SAMPLERS)}'
        )
    return BY_SCOPE[scope]


def build_sampler(cfg: str | Mapping[str, Any], model: nn.Module | None = None) -> Sampler:
    """Build a sampler from its name or its config.

    Args:
        cfg: Name, or `type` and arguments.
        model: What a sampler may ask for arguments that the config leaves open (its `settings_of`).

    Raises:
        ValueError: If there is no such sampler.
    """
    arguments = {'type': cfg} if isinstance(cfg, str) else dict(cfg)
    name = str(arguments.pop('type', None)).removeprefix('mmsls.')
    if name not in SAMPLERS:
        raise ValueError(f'sampler: unknown sampler {name!r}; known: {", ".join(sorted(SAMPLERS))}')
    sampler = SAMPLERS[name]
    known = sampler.settings_of(model) if model is not None and hasattr(sampler, 'settings_of') else {}
    try:
        inspect.signature(sampler).bind(**arguments)
    except TypeError as error:
        names = ', '.join(inspect.signature(sampler).parameters)
        raise ValueError(f'sampler: {error} for {name}; its arguments are {names}') from error
    return sampler(**{**known, **arguments})
