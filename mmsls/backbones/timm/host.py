"""A Vision Transformer of timm as the toolboxes' backbones are: images in, one map per output out."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmsls.backbones.timm.block import form_of

OUT_TYPES = ('featmap', 'cls_token')
REFUSED = {
    **dict.fromkeys(('pretrained', 'checkpoint_path'), 'weights come from base_checkpoint'),
    **dict.fromkeys(('pretrained_cfg', 'pretrained_cfg_overlay', 'cache_dir'), 'nothing is downloaded here'),
    **dict.fromkeys(('num_classes', 'features_only'), 'the backbone has no head, and out_indices says what comes out'),
    'img_size': 'it is an argument of the backbone',
    'patch_drop_rate': 'a map has all of its patches',
}
"""Arguments of `timm.create_model` that would load files, or give something else than maps, and why not."""


class TimmViT(BaseModule):
    """A Vision Transformer that `timm.create_model` builds, without its head.

    Images of any size are padded with zeros below and on the right to whole patches, as the hosts' own ViTs do it, and
    position embeddings are resized to the image in every pass. BEiT's relative positions are not: there the image has
    the size `img_size`.

    Args:
        model_name: Name of the architecture in timm, such as `'vit_small_patch14_reg4_dinov2'`; nothing is downloaded.
        out_indices: Blocks whose output is put out, 0-based; negative ones count from the top.
        img_size: Side of the training images, or (H, W): position embeddings are made for it, and a base's resized to
            it. By default that of the architecture.
        final_norm: Let the model's final norm follow every output.
        out_type: `'featmap'`: maps (B, C, H, W) of the image tokens; `'cls_token'`: the class token, (B, C).
        with_cp: Compute activations again in the backward pass, to save memory.
        model_args: Further arguments of `timm.create_model`, such as `dict(drop_path_rate=0.1)`.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: If timm has no such model, it is no Vision Transformer of a known form, or an argument does not fit.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: int | Sequence[int] = -1,
        img_size: int | Sequence[int] | None = None,
        final_norm: bool = False,
        out_type: str = 'featmap',
        with_cp: bool = False,
        model_args: Mapping[str, Any] | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type is {out_type!r}; it must be one of {OUT_TYPES}')
        self.creation = (model_name, img_size, model_args or {})
        self.model: Any = created(*self.creation)
        self.model_name, self.out_type, self.final_norm = model_name, out_type, final_norm
        if out_type == 'cls_token' and getattr(self.model, 'cls_token', None) is None:
            raise ValueError(f"out_type is 'cls_token', and {model_name} has no class token; leave it at 'featmap'")
        if final_norm and isinstance(self.model.norm, nn.Identity):
            raise ValueError(f'final_norm is True, and {model_name} has no norm before its pooling; leave it out')
        # Nothing that is not read may be trained.
        for name in ('fc_norm', 'attn_pool') if final_norm else ('norm', 'fc_norm', 'attn_pool'):
            setattr(self.model, name, nn.Identity())
        depth = len(self.model.blocks)
        wanted = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        self.out_indices: Sequence[int] = tuple(index + depth if index < 0 else index for index in wanted)
        self.model.set_grad_checkpointing(with_cp)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one output per entry of `out_indices` for images (B, 3, H, W).

        Raises:
            ValueError: If the model takes images of one size only, and these have another.
        """
        outs = self.model.forward_intermediates(
            self._padded(x),
            indices=list(self.out_indices),
            norm=self.final_norm,
            return_prefix_tokens=self.out_type == 'cls_token',
            stop_early=self.out_indices[-1] + 1 < len(self.model.blocks),
            intermediates_only=True,
        )
        return tuple(prefix[:, 0] for _, prefix in outs) if self.out_type == 'cls_token' else tuple(outs)

    def _padded(self, x: Tensor) -> Tensor:
        height, width = self.model.patch_embed.patch_size
        x = F.pad(x, (0, -x.shape[3] % width, 0, -x.shape[2] % height)) if any(self._rest(x)) else x
        size = tuple(self.model.patch_embed.img_size)
        if not takes_any_size(self.model) and tuple(x.shape[2:]) != size:
            raise ValueError(
                f'{self.model_name} takes images of {size[0]}x{size[1]} only, got {x.shape[2]}x{x.shape[3]}: set '
                'img_size, and have the pipeline resize or pad to it'
            )
        return x

    def _rest(self, x: Tensor) -> tuple[int, int]:
        height, width = self.model.patch_embed.patch_size
        return x.shape[2] % height, x.shape[3] % width


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
        with torch.device('meta'):
            cls = type(timm.create_model(name, **given))
        if 'dynamic_img_size' in inspect.signature(cls).parameters:
            given = {'dynamic_img_size': True, **given}
        model = timm.create_model(name, **given)
    except TypeError as error:
        raise ValueError(f'model_args: {error}; {name} takes the arguments of timm.create_model') from error
    check_form(model, name)
    return model


def check_form(model: Any, name: str) -> None:
    """Refuse a model that is no Vision Transformer with blocks of a known form.

    Raises:
        ValueError: Naming what is missing.
    """
    if type(model).__name__.startswith('SwinTransformerV2'):
        raise ValueError(
            f'model_name: {name} is a Swin v2: its blocks stand in stages with patch mergings between them and take '
            'maps, not tokens, and mmsls has no mixin for these: take a Vision Transformer of timm, or '
            'PrunedSwinTransformer for Swin v1'
        )
    lacking = [
        part
        for part, there in {
            'blocks in one list': isinstance(getattr(model, 'blocks', None), nn.Sequential | nn.ModuleList),
            'forward_intermediates': hasattr(model, 'forward_intermediates'),
            'a patch embedding of its own': hasattr(getattr(model, 'patch_embed', None), 'dynamic_feat_size'),
        }.items()
        if not there
    ]
    if lacking:
        raise ValueError(
            f'model_name: {name} ({type(model).__name__}) lacks {", ".join(lacking)}: take a Vision Transformer of '
            'timm (VisionTransformer, Eva, Beit), or PrunedSwinTransformer'
        )
    if getattr(model, 'rope_mixed', False):
        raise ValueError(f'model_name: the position embeddings of {name} differ by block, which pruning would confuse')
    for block in model.blocks:
        form_of(block)


def takes_any_size(model: Any) -> bool:
    """Whether a model resizes its position embeddings to the image."""
    return bool(getattr(model, 'dynamic_img_size', False))
