"""Models by config: built, loaded, merged, and a base that controls can train."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmsls.adapters import adapter_class
from mmsls.backbones import PrunedBackbone
from mmsls.backbones.identity import EXTRA_STATE
from mmsls.backbones.lookup import find_backbone
from mmsls.backbones.merging import merge_blocks
from mmsls.files.paths import expand_home
from mmsls.files.writing import whole_file


def build_model(cfg: Config, checkpoint: str | None = None) -> nn.Module:
    """Build a config's model in eval mode, with a checkpoint's weights where one is given."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(deepcopy(cfg.model))  # mmdet 3.3 writes train_cfg and test_cfg into the head's config
    if checkpoint is not None:
        load_checkpoint(model, expand_home(checkpoint), map_location='cpu')
    return model.eval()


def merge_adapters(backbone: PrunedBackbone) -> None:
    """Fold every adapter that has an exact merge into the base's layers, in place; the others stay as they are."""
    if backbone.adapter_cfg is None or not adapter_class(backbone.adapter_cfg).mergeable:
        return
    try:
        merge_blocks(backbone.iter_blocks())  # methods that only choose parameters of the base adapt no block
    except ValueError as error:  # nothing is changed then, and the model computes the same
        print_log(f'SLS: scoring with unmerged adapters: {error}', 'current')


def export_base(cfg: Config, path: str | Path) -> None:
    """Write the frozen base of a config's backbone in the host's key style.

    It is for controls that train it through the host's own `init_cfg`.

    Args:
        cfg: A config whose backbone has a base; its adapters are left out.
        path: Where the file goes; `init_cfg=dict(type='Pretrained', checkpoint=path)` reads it.

    Raises:
        ValueError: If the backbone has no base or is pruned.
    """
    cfg = deepcopy(cfg)
    cfg.model.backbone.pop('adapter', None)
    backbone = find_backbone(build_model(cfg))
    if backbone.base_checkpoint is None or backbone.is_pruned:
        raise ValueError(
            f'model.backbone: base_checkpoint={backbone.base_checkpoint!r}, kept_depths={backbone.kept_depths}; a base '
            'is exported from a config that names one, at full depth'
        )
    state = {key: value for key, value in backbone.state_dict().items() if key != EXTRA_STATE}
    with whole_file(expand_home(str(path))) as partial, partial.open('wb') as file:
        torch.save({'state_dict': state}, file)
