"""Registries of mmsls: children of MMEngine's, so that `mmsls.Name` works in every host's config."""

from __future__ import annotations

from typing import Any

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmsls',
    locations=['mmsls.vtab.comparison', 'mmsls.backbones.timm.backbone'],
)
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmsls', locations=['mmsls.vtab'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmsls', locations=['mmsls.hooks'])
ADAPTERS = Registry('adapter', scope='mmsls', locations=['mmsls.adapters'])


def names_class(value: Any, name: str) -> bool:
    """Whether a config's `type` means the mmsls class of a name: short, with scope, dotted path or the class itself.

    Nothing is imported: MMEngine's own look-up would import whatever module a dotted name points at.

    Example:
        >>> names_class('mmsls.SLSHook', 'SLSHook'), names_class('mmsls.hooks.sls_hook.SLSHook', 'SLSHook')
        (True, True)
        >>> names_class('mmdet.SLSHook', 'SLSHook'), names_class(int, 'SLSHook')
        (False, False)
    """
    return short_name(value) == name


def short_name(value: Any) -> str | None:
    """Return the registered name of an mmsls class that a config's `type` means; None where it can be none.

    Example:
        >>> short_name('mmsls.adapters.convpass.Convpass'), short_name('Convpass'), short_name('torch.nn.ReLU')
        ('Convpass', 'Convpass', None)
    """
    path = f'{value.__module__}.{value.__qualname__}' if isinstance(value, type) else value
    if not isinstance(path, str) or not path:
        return None
    scope, _, name = path.rpartition('.')
    return name if not scope or scope.split('.')[0] == 'mmsls' else None
