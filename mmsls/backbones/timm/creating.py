"""Models of timm, built without weights: which of them are taken, and what is refused."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import timm
from timm.models import is_model_in_modules
from torch import nn

from mmsls.backbones.timm.block import form_of

STAGED = ('swin_transformer', 'swin_transformer_v2')
"""Modules of timm whose models have blocks in stages."""
REFUSED = {
    **dict.fromkeys(('pretrained', 'checkpoint_path'), 'weights come from base_checkpoint'),
    **dict.fromkeys(('pretrained_cfg', 'pretrained_cfg_overlay', 'cache_dir'), 'nothing is downloaded here'),
    **dict.fromkeys(('num_classes', 'features_only'), 'the backbone has no head, and out_indices says what comes out'),
    'img_size': 'it is an argument of the backbone',
    'patch_drop_rate': 'a map has all of its patches',
}
"""Arguments of `timm.create_model` that would load files, or give something else than maps, and why not."""


def created(name: str, img_size: int | Sequence[int] | None, args: Mapping[str, Any]) -> Any:
    """Build a model of timm without head and weights, for images of any size where its class allows that.

    Raises:
        ValueError: As `TimmViT`.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        near = difflib.get_close_matches(str(name), timm.list_models(), n=3)
        raise ValueError(
            f'model_name: timm {timm.__version__} has no model {name!r}'
            + (f'; near it are {", ".join(near)}' if near else '; timm.list_models() names them')
        )
    for key in REFUSED.keys() & args.keys():
        raise ValueError(f'model_args.{key} is {args[key]!r}; leave it out: {REFUSED[key]}')
    given: dict[str, Any] = {'num_classes': 0, **args}
    if img_size is not None:
        given['img_size'] = img_size if isinstance(img_size, int) else tuple(img_size)
    try:
        model = for_any_size(name, given)
    except TypeError as error:
        raise ValueError(f'model_args: {error}; {name} takes the arguments of timm.create_model') from error
    check_form(model, name)
    return model


def for_any_size(name: str, given: Mapping[str, Any]) -> Any:
    """Build a model of timm, for images of any size where its class has that argument."""
    try:
        return timm.create_model(name, **{'dynamic_img_size': True, **given})
    except TypeError as error:
        if "'dynamic_img_size'" not in str(error):
            raise
        return timm.create_model(name, **given)


def is_staged(name: Any) -> bool:
    """Whether timm's model of a name has its blocks in stages.

    Example:
        >>> is_staged('swinv2_tiny_window8_256'), is_staged('vit_small_patch14_dinov2')
        (True, False)
    """
    return isinstance(name, str) and bool(is_model_in_modules(name, STAGED))


def blocks_of(model: Any) -> list[nn.Module]:
    """Return all blocks of a model of timm, bottom first: of its one list, or of its stages; nothing where none are."""
    lists = nn.Sequential | nn.ModuleList
    if isinstance(getattr(model, 'blocks', None), lists):
        return list(model.blocks)
    stages = next(
        (found for name in ('layers', 'stages') if isinstance(found := getattr(model, name, None), lists)), ()
    )
    return [block for stage in stages for block in getattr(stage, 'blocks', ())]


def check_form(model: Any, name: str) -> None:
    """Refuse a model that is no Vision Transformer with blocks of a known form.

    Raises:
        ValueError: Naming what is missing.
    """
    blocks = blocks_of(model)
    for block in blocks:
        form_of(block)
    lacking = [
        part
        for part, there in {
            'blocks in one list or in stages': bool(blocks),
            'forward_intermediates': hasattr(model, 'forward_intermediates'),
            'a patch embedding of its own': hasattr(getattr(model, 'patch_embed', None), 'dynamic_feat_size'),
        }.items()
        if not there
    ]
    if lacking:
        raise ValueError(
            f'model_name: {name} ({type(model).__name__}) lacks {", ".join(lacking)}: take a Vision Transformer of '
            'timm (VisionTransformer, Eva, Beit, SwinTransformer, SwinTransformerV2), or PrunedSwinTransformer'
        )
    if getattr(model, 'rope_mixed', False):
        raise ValueError(f'model_name: the position embeddings of {name} differ by block, which pruning would confuse')


def takes_any_size(model: Any) -> bool:
    """Whether a model takes images of any size: its positions, or the masks of its windows, follow the image."""
    return bool(getattr(model, 'dynamic_img_size', False))
