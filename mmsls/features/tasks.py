"""Which sampler belongs to which task, and building one from a config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.utils import get_object_from_string
from torch import nn

from mmsls.features.image_sampler import ImageSampler
from mmsls.features.instance_sampler import InstanceSampler
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.samplers import Sampler
from mmsls.registry import short_name

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


def sampler_class(cfg: str | type | Mapping[str, Any]) -> Any:
    """Return the class that a sampler's config means: a name, class, dotted path, or a dict with one as `type`.

    Raises:
        ValueError: If there is no such sampler.

    Example:
        >>> sampler_class('mmsls.ImageSampler') is sampler_class({'type': ImageSampler})
        True
    """
    kind = cfg.get('type') if isinstance(cfg, Mapping) else cfg
    if isinstance(kind, type):
        return kind
    name = short_name(kind)
    if name in SAMPLERS:
        return SAMPLERS[name]
    found = get_object_from_string(kind) if isinstance(kind, str) and '.' in kind and name is None else None
    if not isinstance(found, type):
        raise ValueError(f'sampler: unknown sampler {kind!r}; known: {", ".join(sorted(SAMPLERS))}')
    return found


def build_sampler(cfg: str | type | Mapping[str, Any], model: nn.Module | None = None) -> Sampler:
    """Build a sampler from its name or its config.

    Args:
        cfg: Name, class or dotted path, or a dict with one as `type` and with arguments.
        model: What a sampler may ask for arguments that the config leaves open (its `settings_of`).

    Raises:
        ValueError: If there is no such sampler.
    """
    sampler = sampler_class(cfg)
    arguments = {key: value for key, value in cfg.items() if key != 'type'} if isinstance(cfg, Mapping) else {}
    known = sampler.settings_of(model) if model is not None and hasattr(sampler, 'settings_of') else {}
    try:
        inspect.signature(sampler).bind(**arguments)
    except TypeError as error:
        names = ', '.join(inspect.signature(sampler).parameters)
        raise ValueError(f'sampler: {error} for {sampler.__name__}; its arguments are {names}') from error
    return sampler(**{**known, **arguments})
