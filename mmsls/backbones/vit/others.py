"""mmpretrain's relatives of its ViT: DeiT III, EVA-02, MoCo v3, MAE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from typing import Any

from torch import Tensor, nn

from mmsls.adapters.base import build_adapters
from mmsls.backbones.blocks import LinearLayer
from mmsls.backbones.outputs import BlockOutputs
from mmsls.backbones.vit.backbone import PrunedViTMixin
from mmsls.backbones.vit.block import AdaptedViTBlock


class AdaptedDeiT3Block(AdaptedViTBlock):
    """mmpretrain's block of DeiT III, which has `ln1` before both branches and leaves its `ln2` idle."""

    def norm(self, branch: str) -> Any:  # noqa: ARG002
        """Return the norm before a branch, as the host computes it."""
        return self.ln1

    def layers(self) -> dict[str, LinearLayer]:
        """Return where the block's layers keep their parameters; the norm belongs to attention."""
        found = super().layers()
        del found['ffn_norm']
        return found


class AdaptedEVA02Block(AdaptedViTBlock):
    """mmpretrain's block of EVA-02: `norm1, attn, norm2, mlp`, attention turned by the token grid, a gated FFN."""

    # The host's own children.
    norm1: Any
    norm2: Any
    mlp: Any
    drop_path: Any

    def norm(self, branch: str) -> Any:
        """Return the norm before a branch."""
        return self.norm1 if branch == 'attn' else self.norm2

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:  # noqa: ARG002
        """Return `identity + branch(h)`, drop path included."""
        return identity + self.drop_path(self.attn(h, hw_shape) if branch == 'attn' else self.mlp(h))

    def layers(self) -> dict[str, LinearLayer]:
        """Return where the block's layers keep their parameters."""
        attn, mlp = self.attn, self.mlp
        parts = {'attn_norm': self.norm1, 'attn_qkv': attn.qkv, 'attn_proj': attn.proj}
        parts |= {'ffn_norm': self.norm2, 'ffn_fc1': mlp.w12, 'ffn_fc2': mlp.w3}
        return {slot: LinearLayer(module) for slot, module in parts.items()}


class PrunedRelativeMixin(PrunedViTMixin):
    """A relative of mmpretrain's ViT whose blocks are adapted in their own way."""

    block_class: type[AdaptedViTBlock]

    def adapted(self, block: nn.Module, stage: int, cfg: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Return a block with adapters around the host's block."""
        adapted = self.block_class(block, self._grid)
        adapted.insert(build_adapters(cfg, self.base_width(), adapted.layers()))
        return adapted


class PrunedDeiT3Mixin(PrunedRelativeMixin):
    """The host's DeiT III; takes what `PrunedViTMixin` takes.

    Its blocks have one norm for both branches, so SSF, which scales the norm of each, is refused.
    """

    family = 'DeiT3'
    block_class = AdaptedDeiT3Block
    cls_token: Any

    @property
    def with_cls_token(self) -> bool:  # type: ignore[override]
        """Whether there is a class token; the host keeps no such flag."""
        return self.cls_token is not None

    def _insert_adapters(self, cfg: Mapping[str, Any]) -> None:
        super()._insert_adapters(cfg)
        # Never called, so it would never get a gradient, at which DDP stops.
        self.selected = frozenset(name for name in self.selected if '.ln2.' not in name)


class PrunedEVA02Mixin(PrunedRelativeMixin):
    """The host's EVA-02; takes what `PrunedViTMixin` takes.

    The host computes the turns of positions anew where an image has another size than the last, and keeps them as
    buffers: what a checkpoint holds of them would fit the last image alone. Here they are saved for `img_size`, and
    those of a checkpoint are passed over.
    """

    family = 'ViTEVA02'
    block_class = AdaptedEVA02Block
    computed = re.compile(r'(^|\.)rope\.freqs_(cos|sin)$')
    not_in_base = re.compile(r'^ln2\.|' + computed.pattern)
    never_loaded = re.compile(r'^(head|head_dist|pre_logits)\.|' + computed.pattern)

    # The host's own.
    rope: Any
    patch_resolution: tuple[int, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._register_state_dict_hook(save_own_turns)
        self._register_load_state_dict_pre_hook(pass_over_turns, with_module=True)

    def stored_keys(self, state: Mapping[str, Tensor] | None = None, prefix: str = '') -> list[str]:
        """Return the keys of what belongs to one task; the turns of positions follow the size of the last image."""
        return [key for key in super().stored_keys(state, prefix) if not self.is_computed(key)]


def own_turns(backbone: PrunedEVA02Mixin) -> dict[str, Tensor]:
    """Return the turns of an EVA-02's positions for its own image size, by the names of the host's buffers."""
    rope = copy(backbone.rope)
    rope.patch_resolution = tuple(backbone.patch_resolution)
    names = ('freqs_cos', 'freqs_sin')
    return {n: turns.to(getattr(rope, n)) for n, turns in zip(names, rope.compute_position_embedding(), strict=True)}


def save_own_turns(backbone: PrunedEVA02Mixin, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Put the turns of an EVA-02's own size into a state dict that is given out."""
    own = own_turns(backbone)
    computed = [key for key in state if key.startswith(prefix) and backbone.is_computed(key)]
    state.update({key: own[key.rpartition('.')[2]] for key in computed})


def pass_over_turns(backbone: PrunedEVA02Mixin, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Put an EVA-02's own turns in the place of those that a state dict holds, and turn the backbone for its size."""
    backbone.rope.patch_resolution = tuple(backbone.patch_resolution)
    for name, turns in own_turns(backbone).items():
        backbone.rope.register_buffer(name, turns)
    save_own_turns(backbone, state, prefix)


class PrunedMoCoV3Mixin(PrunedViTMixin):
    """The host's MoCo v3; takes what `PrunedViTMixin` takes."""

    family = 'MoCoV3ViT'


class PrunedMAEViTMixin(PrunedViTMixin):
    """The host's MAE, for what comes after its pre-training; takes what `PrunedViTMixin` takes.

    The host masks patches unless `forward` is told not to; here nothing is masked: adapters see the whole token grid.
    MMPretrain's own fine-tuning configs name its `VisionTransformer`, which has the same keys.
    """

    family = 'MAEViT'
    hostless = "the host's MAEViT masks patches; build it as PrunedVisionTransformer, which has the same keys"

    def forward(self, x: Tensor, mask: bool | None = None) -> BlockOutputs:
        """Return one output per entry of `out_indices` for images (B, 3, H, W).

        Raises:
            ValueError: If patches are to be masked.
        """
        if mask:
            raise ValueError(
                f'mask is {mask!r}, and a frozen base is not pre-trained: leave it out, or take MAEViT to pre-train'
            )
        return super().forward(x, mask=None)
