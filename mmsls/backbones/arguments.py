"""Arguments of the hosts' backbones: what a frozen base makes idle, and what the hosts stumble over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.logging import print_log

CUT = ('pruning_index', 'kept_depths', 'kept_blocks')
"""Arguments of a backbone that say what of it is kept; it takes one of them."""


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False: any text counts as True in Python.

    Raises:
        ValueError: Naming argument and value.
    """
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, got {value!r}')


def ignore_init_cfg(arguments: MutableMapping[str, Any]) -> None:
    """Remove an inherited `init_cfg` or `pretrained`: with a base, the weights come from `base_checkpoint`."""
    ignore_arguments(arguments, {'init_cfg': None, 'pretrained': None})


def ignore_arguments(arguments: MutableMapping[str, Any], idle: Mapping[str, Any]) -> None:
    """Remove host arguments that a frozen base makes idle, and say so where one was set to more than its idle value."""
    for name, nothing in idle.items():
        value = arguments.pop(name, nothing)
        if value != nothing:
            print_log(f'{name}={value} is ignored: base_checkpoint is set', 'current', logging.WARNING)


def stage_count(arguments: Mapping[str, Any]) -> int:
    """Return how many stages host arguments ask for: by `depths`, by mmpretrain's `arch`, else the published four."""
    arch = arguments.get('arch')
    return len(arguments.get('depths') or (arch['depths'] if isinstance(arch, Mapping) else range(4)))


def mend_arguments(arguments: MutableMapping[str, Any]) -> None:
    """Mend host arguments in place that mmdet 3.3 and mmseg 1.2 document and stumble over.

    A `mlp_ratio` that is a whole number as a float ends in torch's TypeError, a plain dict as `init_cfg` in an
    AttributeError, and what `pretrained` names is never loaded.

    Example:
        >>> arguments = {'mlp_ratio': 4.0, 'pretrained': 'swin.pth'}
        >>> mend_arguments(arguments)
        >>> arguments
        {'mlp_ratio': 4, 'init_cfg': {'type': 'Pretrained', 'checkpoint': 'swin.pth'}}
    """
    ratio = arguments.get('mlp_ratio')
    if isinstance(ratio, float) and ratio.is_integer():
        arguments['mlp_ratio'] = int(ratio)
    if isinstance(arguments.get('pretrained'), str) and arguments.get('init_cfg') is None:
        arguments['init_cfg'] = {'type': 'Pretrained', 'checkpoint': arguments.pop('pretrained')}
    if type(arguments.get('init_cfg')) is dict:
        arguments['init_cfg'] = ConfigDict(arguments['init_cfg'])
