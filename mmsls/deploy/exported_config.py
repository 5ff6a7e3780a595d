"""The config of a full checkpoint: the one it was trained with, without adapters and base, or the host's own."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.numbering import BlockNumbers
from mmsls.deploy.standing_alone import names_of_mmsls
from mmsls.deploy.task_config import backbone_config
from mmsls.features.splits import parts_of
from mmsls.pruning_index.foundation import Foundation
from mmsls.registry import DATASETS, HOOKS, short_name

OURS = ('base_checkpoint', 'adapter', 'pruning_index', 'kept_depths', 'kept_blocks', 'fused_attention', 'bridge')
FORGOTTEN = ('init_cfg', 'pretrained', 'frozen_stages', 'frozen_exclude')
"""Arguments that would load weights over the merged ones, or freeze layers that are gone; nothing is left to train."""


def exported_config(cfg: Config, foundation: Foundation, backbone: PrunedBackbone, stock: bool) -> Config:
    """Return the full checkpoint's config: the given one without adapters and base, without mmsls if `stock`."""
    plain = deepcopy(cfg.to_dict())
    own = backbone_config(plain, foundation.name)
    ours = {key: own.pop(key) for key in OURS if key in own}
    for key in FORGOTTEN:
        own.pop(key, None)
    if stock:
        own |= stock_arguments(backbone, own['type'])
        remap_heads(plain['model'], backbone.output_blocks)
    elif backbone.base_sha256 is None:  # merged, but not the host's
        own |= foundation.pruning()
    else:
        own |= {key: ours[key] for key in ('adapter', 'fused_attention') if key in ours}
        own |= {'base_checkpoint': f'sha256:{foundation.base_sha256}', **foundation.pruning()}
    if backbone.bridge:
        own |= {'bridge': backbone.bridge}
    forget_training(plain, stock)
    return Config(plain)


def stock_arguments(backbone: Any, our_type: Any) -> dict[str, Any]:
    """Return the type of the host's own backbone and the arguments that build it at the kept depths."""
    host: Any = next(cls for cls in type(backbone).__mro__ if not issubclass(cls, BlockNumbers))
    # A short name stays one; with a scope, as the class itself or by its path it becomes the host's.
    short = isinstance(our_type, str) and '.' not in our_type
    arguments: dict[str, Any] = {'type': host.__name__ if short else f'{host.__module__.split(".")[0]}.{host.__name__}'}
    kept: Any = list(backbone.kept_depths)
    known = inspect.signature(host).parameters
    one_stage = bool(backbone.output_blocks)
    depth = {'num_layers': kept[0]} if one_stage else {'depths': kept}
    if one_stage:
        arguments['out_indices'] = list(backbone.out_indices)
    # mmpretrain's take an architecture by name or as a dict.
    return arguments | ({'arch': {**backbone.arch_settings, **depth}} if 'arch' in known else depth)


def remap_heads(model: dict[str, Any], blocks: Sequence[int]) -> None:
    """Let MMSegmentation's heads take an output several times where pruning left one block as several; in place."""
    distinct = sorted(set(blocks))
    if len(distinct) == len(blocks):
        return
    heads = [model.get(name) for name in ('decode_head', 'auxiliary_head')]
    for head in [one for item in heads for one in (item if isinstance(item, list | tuple) else [item]) if one]:
        index = head.get('in_index', -1)
        wanted = index if isinstance(index, list | tuple) else [index]
        taken = [distinct.index(blocks[number]) for number in wanted]
        head['in_index'] = taken if isinstance(index, list | tuple) else taken[0]


def forget_training(plain: dict[str, Any], stock: bool) -> None:
    """Take out what belongs to the run that was, in place; what names mmsls too, where the model needs it no more."""
    for key in ('load_from', 'resume', 'work_dir'):
        plain.pop(key, None)
    plain['custom_hooks'] = [hook for hook in plain.get('custom_hooks') or [] if not is_ours(hook.get('type'), HOOKS)]
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for dataset in parts_of((plain.get(loader) or {}).get('dataset') or {}) if stock else ():
            if is_ours(dataset.get('type'), DATASETS):
                theirs = DATASETS.module_dict[short_name(dataset['type'])].as_host_dataset(dataset)
                dataset.clear()
                dataset.update(theirs)
    # mmsls' own rates for adapters, of which none is left.
    wrapper = plain.get('optim_wrapper') or {}
    if stock and names_of_mmsls(wrapper.get('constructor')):
        del wrapper['constructor']
    imports = plain.get('custom_imports')
    if stock and imports:
        names = [imports['imports']] if isinstance(imports['imports'], str) else imports['imports']
        imports['imports'] = [name for name in names if name.split('.')[0] != 'mmsls']
        if not imports['imports']:
            del plain['custom_imports']


def is_ours(type_: Any, registry: Any) -> bool:
    """Whether a `type`, however it is written, is what mmsls registered under that name."""
    registry.import_from_location()
    return short_name(type_) in registry.module_dict
