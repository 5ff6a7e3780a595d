"""The ViT block of mmseg and mmpretrain with adapter slots."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmsls.backbones.blocks import AdaptedBlock, LinearLayer
from mmsls.backbones.tokens import TokenGrid


class AdaptedViTBlock(AdaptedBlock):
    """ViT block of mmseg and mmpretrain: `ln1, attn, ln2, ffn`, attention over all tokens, the class token first.

    Args:
        block: The host's block.
        grid: Where the backbone notes the token grid.
    """

    # The host's own children.
    ln1: Any
    ln2: Any
    attn: Any
    ffn: Any

    def __init__(self, block: Any, grid: TokenGrid) -> None:
        super().__init__(block)
        self.grid = grid

    def forward(self, x: Tensor, hw_shape: tuple[int, int] | None = None, **given: Any) -> Tensor:
        """Run the block on (B, K + H * W, C) tokens; the grid is the backbone's by default."""
        return super().forward(x, self.grid.shape if hw_shape is None else hw_shape, **given)

    def norm(self, branch: str) -> Any:
        """Return the norm before a branch."""
        return self.ln1 if branch == 'attn' else self.ln2

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:  # noqa: ARG002
        """Return `identity + branch(h)`, drop path included."""
        if branch == 'ffn':
            return self.ffn(h, identity=identity)
        if self._keeps_identity:
            return self.attn(h, identity=identity)
        return identity + self.attn(h)

    def layers(self) -> dict[str, LinearLayer]:
        """Return where the block's layers keep their parameters."""
        attn, ffn = self.attn, self.ffn
        if self._keeps_identity:
            qkv, proj = LinearLayer(attn.attn, 'in_proj_weight', 'in_proj_bias'), attn.attn.out_proj
        else:
            qkv, proj = LinearLayer(attn.qkv), attn.proj
        fc1, fc2 = (ffn.w12, ffn.w3) if hasattr(ffn, 'w12') else (ffn.layers[0][0], ffn.layers[1])
        others = {'attn_norm': self.ln1, 'attn_proj': proj, 'ffn_norm': self.ln2, 'ffn_fc1': fc1, 'ffn_fc2': fc2}
        return {'attn_qkv': qkv, **{slot: LinearLayer(module) for slot, module in others.items()}}

    @property
    def _keeps_identity(self) -> bool:
        """Whether the attention is mmcv's, around `nn.MultiheadAttention` (mmseg), and not mmpretrain's own."""
        return isinstance(getattr(self.attn, 'attn', None), nn.MultiheadAttention)
