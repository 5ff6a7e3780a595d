"""Registries of mmsls: children of MMEngine's, so that `mmsls.Name` works in every host's config."""

from __future__ import annotations

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmsls', locations=['mmsls.backbones'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmsls', locations=['mmsls.vtab'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmsls', locations=['mmsls.hooks'])
ADAPTERS = Registry('adapter', scope='mmsls', locations=['mmsls.adapters'])
