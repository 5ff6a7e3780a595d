"""timm's Vision Transformers on a frozen base."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.adapters.base import build_adapters
from mmsls.backbones.arguments import check_flag, ignore_arguments
from mmsls.backbones.base_files import StateDict
from mmsls.backbones.bridge import BridgeSetting, LinearBridge
from mmsls.backbones.one_stage import OneStageBackbone
from mmsls.backbones.outputs import BlockOutputs
from mmsls.backbones.timm.block import AdaptedTimmBlock
from mmsls.backbones.timm.host import TimmViT, created
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
class PrunedTimmBackbone(OneStageBackbone, TimmViT):
    """Vision Transformer of timm on a frozen base, with adapters, at the depth that was decided; for every toolbox.

    Takes every argument of `TimmViT`, and:

    Args:
        base_checkpoint: Path or URL of the pre-trained model, in timm's keys or those of the original release (Meta's
            DINOv2 and DINOv3, OpenAI's and OpenCLIP's CLIP, EVA-02, BEiT: timm's own filters translate them); or
            `'timm:NAME.TAG'` or `'hf-hub:OWNER/NAME'`, which is fetched where there is a network. It is loaded here and
            frozen whole. None: timm's random model, trainable.
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
        >>> tiny = dict(embed_dim=16, depth=4, num_heads=2)
        >>> model = PrunedTimmBackbone('vit_tiny_patch16_224', out_indices=(1, 3), kept_depths=3, model_args=tiny)
        >>> [tuple(out.shape) for out in model(torch.zeros(1, 3, 40, 64))]
        [(1, 16, 3, 4), (1, 16, 3, 4)]
    """

    hostless = 'it is a model of timm, and the host has none of its own'
    block_pattern = re.compile(r'model\.blocks\.(?P<block>\d+)\.')
    not_in_base = re.compile(r'^$')
    never_loaded = re.compile(r'^(head|head_dist|fc_norm|attn_pool|pre_logits)\.|^mask_token$|relative_position_index$')
    base_hints = {
        r'misshapen model\.(pos_embed|patch_embed)': 'img_size, or the model_name with the patch size of the base',
        r'left over model\.(reg_token|blocks\.\d+\.ls\d)': 'the model_name of the base (with registers: _reg4_)',
        r'missing model\.reg_token': 'a model_name without registers (_reg4_)',
    }

    def __init__(
        self,
        model_name: str,
        *args: Any,
        base_checkpoint: str | os.PathLike[str] | None = None,
        adapter: Mapping[str, Any] | None = None,
        pruning_index: str | os.PathLike[str] | None = None,
        kept_depths: int | Sequence[int] | None = None,
        fused_attention: bool = True,
        bridge: BridgeSetting = False,
        kept_blocks: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if base_checkpoint is not None:
            ignore_arguments(kwargs, {'init_cfg': None})
        check_flag('fused_attention', fused_attention)
        super().__init__(model_name, *args, **kwargs)
        self._host_arguments = ((model_name, *args), kwargs)
        self.family = f'timm.{type(self.model).__name__}'
        self._grid = TimmGrid()
        self.model.patch_embed.register_forward_hook(self._grid.note)
        self.set_outputs(base_checkpoint, adapter, pruning_index, kept_depths, bridge, kept_blocks)

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

    def output_norms(self) -> dict[str, nn.Module]:
        """Return nothing: the final norm is the base's."""
        return {}

    def base_keys(self, state: StateDict) -> StateDict:
        """Translate to timm's keys by timm's own filter, positions resized; heads and what is computed are dropped."""
        if not any(key.startswith('model.') for key in state):
            state = self._filtered(state)
            state = {f'model.{key}': value for key, value in state.items() if not self.never_loaded.search(key)}
        own = set(nn.Module.state_dict(self))
        idle = ('model.norm.weight', 'model.norm.bias')
        return {key: value for key, value in state.items() if key in own or key not in idle}

    def _filtered(self, state: StateDict) -> StateDict:
        with torch.device('meta'):  # the filters ask the model at full depth for its shapes
            full = created(*self.creation)
        source = sys.modules[type(full).__module__]
        if not hasattr(source, 'checkpoint_filter_fn'):
            return state
        try:
            return dict(source.checkpoint_filter_fn(state, full))
        except Exception as error:  # timm's filters assume the tensors of the architecture, and fail in many ways
            raise ValueError(
                f'base_checkpoint: its tensors are not those of {self.model_name} '
                f'({type(error).__name__}: {error}). Try: the '
                'model_name of the base, with or without registers (_reg4_), and its patch size'
            ) from error
