"""A model of timm as the toolboxes' backbones are: images in, one map per output out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmsls.backbones.timm.creating import created, takes_any_size

OUT_TYPES = ('featmap', 'cls_token')


class TimmHost(BaseModule):
    """A Vision Transformer that `timm.create_model` builds, without its head.

    Images of any size are padded with zeros below and on the right to whole patches, as the hosts' own do it.

    Args:
        model_name: Name of the architecture in timm, such as `'vit_small_patch14_reg4_dinov2'`; nothing is downloaded.
        out_indices: Blocks (of a Swin: stages) whose output is put out, 0-based; negative ones count from the top.
        img_size: Side of the training images, or (H, W). Position embeddings are made for it, and a base's resized to
            it; the windows of a Swin are cut to it. By default that of the architecture.
        final_norm: Let the model's final norm follow every output; of a Swin, that of the last stage.
        out_type: `'featmap'`: maps (B, C, H, W) of the image tokens; `'cls_token'`: the class token, (B, C).
        with_cp: Compute activations again in the backward pass, to save memory.
        model_args: Further arguments of `timm.create_model`, such as `dict(drop_path_rate=0.1)`.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: If timm has no such model, it is no Vision Transformer of a known form, or an argument does not fit.
    """

    parts: str
    """Attribute of timm's model that holds what `out_indices` counts."""

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
        if not hasattr(self.model, self.parts):
            raise ValueError(
                f'model_name: {model_name} is no {type(self).__name__}, but PrunedTimmBackbone takes it by its name'
            )
        self.model_name, self.out_type, self.final_norm = model_name, out_type, final_norm
        if out_type == 'cls_token' and getattr(self.model, 'cls_token', None) is None:
            raise ValueError(f"out_type is 'cls_token', and {model_name} has no class token; leave it at 'featmap'")
        if final_norm and isinstance(self.model.norm, nn.Identity):
            raise ValueError(f'final_norm is True, and {model_name} has no norm before its pooling; leave it out')
        # Nothing that is not read may be trained.
        for name in ('fc_norm', 'attn_pool') if final_norm else ('norm', 'fc_norm', 'attn_pool'):
            if hasattr(self.model, name):
                setattr(self.model, name, nn.Identity())
        depth = len(getattr(self.model, self.parts))
        wanted = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        self.out_indices: Sequence[int] = tuple(index + depth if index < 0 else index for index in wanted)
        self.model.set_grad_checkpointing(with_cp)

    def _padded(self, x: Tensor) -> Tensor:
        height, width = self.model.patch_embed.patch_size
        rest = -x.shape[2] % height, -x.shape[3] % width
        x = F.pad(x, (0, rest[1], 0, rest[0])) if any(rest) else x
        size = tuple(self.model.patch_embed.img_size)
        if not takes_any_size(self.model) and tuple(x.shape[2:]) != size:
            raise ValueError(
                f'{self.model_name} takes images of {size[0]}x{size[1]} only, got {x.shape[2]}x{x.shape[3]}: set '
                'img_size, and have the pipeline resize or pad to it'
            )
        return x


class TimmViT(TimmHost):
    """A plain Vision Transformer of timm; takes the arguments of `TimmHost`.

    Position embeddings are resized to the image in every pass. BEiT's relative positions are not: there the image has
    the size `img_size`.
    """

    parts = 'blocks'

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


class TimmSwin(TimmHost):
    """A Swin Transformer of timm, the first or the second; takes the arguments of `TimmHost`.

    Windows are made for images of `img_size`, and stay so whatever the image: where a stage's grid is no larger than a
    window, the window is cut to it and nothing shifts. A grid that is no whole windows is padded with zeros; timm does
    so after the shift, the toolboxes' own Swin before it, so that there a window at the lower or right border sees
    tokens of the opposite one.
    """

    parts = 'layers'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        last = len(self.model.layers) - 1
        if self.final_norm and last not in self.out_indices:
            raise ValueError(
                f'final_norm is True, and the final norm is that of stage {last}, which out_indices '
                f'{tuple(self.out_indices)} leaves out; leave final_norm out'
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one map (B, C, H, W) per entry of `out_indices` for images (B, 3, H, W).

        Raises:
            ValueError: If the model was told to take images of one size only, and these have another.
        """
        return tuple(
            self.model.forward_intermediates(
                self._padded(x),
                indices=list(self.out_indices),
                norm=self.final_norm,
                stop_early=True,
                intermediates_only=True,
            )
        )
