"""timm's Vision Transformers on a frozen base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmsls.adapters.base import build_adapters
from mmsls.backbones.bridge import BridgeSetting, LinearBridge
from mmsls.backbones.one_stage import OneStageBackbone
from mmsls.backbones.outputs import BlockOutputs
from mmsls.backbones.timm.block import AdaptedTimmBlock
from mmsls.backbones.timm.creating import is_staged
from mmsls.backbones.timm.family import TimmFamily
from mmsls.backbones.timm.host import TimmViT
from mmsls.backbones.timm.swin import PrunedTimmSwin
from mmsls.backbones.tokens import TokenGrid
from mmsls.registry import MODELS
from mmsls.scoring import BlockId


class TimmGrid(TokenGrid):
    """The token grid of a pass; timm's patch embedding does not return it, and tells it by the image's size."""

    def note(self, module: Any, inputs: tuple, output: Any) -> None:  # noqa: ARG002
        """Forward hook of the patch embedding."""
        height, width = module.dynamic_feat_size(tuple(inputs[0].shape[-2:]))
        self.noted((int(height), int(width)))


@MODELS.register_module()
class PrunedTimmBackbone(TimmFamily, OneStageBackbone, TimmViT):
    """Vision Transformer of timm on a frozen base, with adapters, at the depth that was decided; for every toolbox.

    The name of a Swin (`swinv2_*`, `swin_*`) gives a `PrunedTimmSwin`: there are stages where others have blocks, and
    `kept_depths` holds a number for each. Takes every argument of `TimmHost`, and:

    Args:
        base_checkpoint: Path or URL of the pre-trained model, in timm's keys or those of the original release (Meta's
            DINOv2 and DINOv3, OpenAI's and OpenCLIP's CLIP, EVA-02, BEiT, Microsoft's Swin: timm's own filters
            translate them); or `'timm:NAME.TAG'` or `'hf-hub:OWNER/NAME'`, which is fetched where there is a network.
            It is loaded here and frozen whole. None: timm's random model, trainable.
        adapter: Config of an adapter, such as `dict(type='mmsls.Convpass', rank=8)`; needs a base.
        pruning_index: Path of the index file that says how many blocks are kept.
        kept_depths: The same by hand, a number or a tuple of one; not with `pruning_index`.
        fused_attention: There for configs that name it: timm's attention is fused already.
        bridge: Put an affine map in the place of every removed block that `out_indices` names (see `LinearBridge`).
        kept_blocks: `(0, block)` of every block that is kept, wherever it stands; not with `pruning_index` or
            `kept_depths`.

    What became of `out_indices` after pruning is told in `OneStageBackbone`. Register and class tokens are no part of
    the maps.

    Raises:
        ValueError: If an argument is wrong, or the base or the index does not fit; the message names both values.
        FileNotFoundError: If the base or the index is not there.

    Example:
        >>> import torch
        >>> tiny = dict(embed_dim=16, depth=4, num_heads=2)
        >>> model = PrunedTimmBackbone('vit_tiny_patch16_224', out_indices=(1, 3), kept_depths=3, model_args=tiny)
        >>> [tuple(out.shape) for out in model(torch.zeros(1, 3, 40, 64))]
        [(1, 16, 3, 4), (1, 16, 3, 4)]
    """

    block_pattern = re.compile(r'model\.blocks\.(?P<block>\d+)\.')

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Build a Swin as `PrunedTimmSwin`: a config names all models of timm in one way."""
        name = kwargs.get('model_name', args[0] if args else None)  # a copied one is made without arguments
        return (
            PrunedTimmSwin(*args, **kwargs) if cls is PrunedTimmBackbone and is_staged(name) else super().__new__(cls)
        )

    def put_together(self, *settings: Any) -> None:
        """Note the token grid of every pass, and set the backbone up."""
        self._grid = TimmGrid()
        self.model.patch_embed.register_forward_hook(self._grid.note)
        self.set_outputs(*settings)

    def forward(self, x: Tensor) -> BlockOutputs:
        """Return one output per entry of `out_indices` for images (B, 3, H, W)."""
        return self.repeated(super().forward(x))

    def blocks(self) -> Any:
        """Return timm's list of blocks."""
        return self.model.blocks

    def patch_side(self) -> int:
        """Return the side of a patch in pixels."""
        return int(self.model.patch_embed.patch_size[0])

    def patches(self) -> nn.Module:
        """Return the patch embedding."""
        return self.model.patch_embed

    def base_width(self) -> int:
        """Return the width C."""
        return int(self.model.embed_dim)

    def bridge_to(self, target: BlockId, setting: BridgeSetting = True) -> LinearBridge:
        """Return a new bridge, which knows class and register tokens from the others."""
        grid = self._grid if self.model.num_prefix_tokens else None
        return LinearBridge(self.base_width(), target, grid, self.out_type == 'cls_token', setting)

    def adapted(self, block: nn.Module, stage: int, cfg: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Return a block with adapters around timm's block."""
        adapted = AdaptedTimmBlock(block, self._grid)
        adapted.insert(build_adapters(cfg, self.base_width(), adapted.layers()))
        return adapted
