"""Swin's block with adapter slots."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmsls.backbones.blocks import AdaptedBlock, LinearLayer


class AdaptedSwinBlock(AdaptedBlock):
    """Swin block of mmdet, mmseg and mmpretrain: `norm1, attn, norm2, ffn`, attention takes the token grid."""

    padded_branches = frozenset({'attn'})  # to whole windows
    # The host's own children.
    norm1: Any
    norm2: Any
    attn: Any
    ffn: Any

    def norm(self, branch: str) -> Any:
        """Return the norm before a branch."""
        return self.norm1 if branch == 'attn' else self.norm2

    def run(self, branch: str, h: Tensor, hw_shape: tuple[int, int], identity: Tensor, **given: Any) -> Tensor:  # noqa: ARG002
        """Return `identity + branch(h)`, drop path included."""
        if branch == 'attn':
            return self.attn(h, hw_shape) + identity
        return self.ffn(h, identity=identity)

    def layers(self) -> dict[str, LinearLayer]:
        """Return where the block's layers keep their parameters."""
        msa, ffn = self.attn.w_msa, self.ffn.layers
        attn = {'attn_norm': self.norm1, 'attn_qkv': msa.qkv, 'attn_proj': msa.proj}
        found = {**attn, 'ffn_norm': self.norm2, 'ffn_fc1': ffn[0][0], 'ffn_fc2': ffn[1]}
        return {slot: LinearLayer(module) for slot, module in found.items()}
