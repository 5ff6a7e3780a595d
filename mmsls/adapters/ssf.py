"""SSF: scale and shift the features (Lian et al., NeurIPS 2022, arXiv 2210.08823)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.registry import ADAPTERS


@ADAPTERS.register_module()
class SSF(LayerAdapter):
    """`gamma * y + beta`, channel by channel, after each operation y of the block: both norms, qkv, proj, fc1, fc2.

    It is computed on the operation's weight and bias, which is the same and folds in exactly. The paper also scales and
    shifts after the patch embedding and the final norm, outside the blocks; here these stay as the base has them,
    except for trainable output norms. A layer without a bias is scaled only.

    Args:
        embed_dims: Width C of the block.
        slot: Where this instance sits.
        weight: Weight of that layer, for its shape.
        bias: Its bias.
    """

    slots = ('attn_norm', 'attn_qkv', 'attn_proj', 'ffn_norm', 'ffn_fc1', 'ffn_fc2')

    def __init__(self, embed_dims: int, *, slot: str, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(embed_dims, slot=slot, weight=weight, bias=bias)
        self.gamma = nn.Parameter(torch.empty(weight.shape[0]))
        self.beta = None if bias is None else nn.Parameter(torch.empty(weight.shape[0]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Ones and zeros; the paper adds noise of 0.02, with which the block would not start as the base's."""
        nn.init.ones_(self.gamma)
        if self.beta is not None:
            nn.init.zeros_(self.beta)

    def adapted_weight(self, weight: Tensor) -> Tensor:
        """Return the weight, (out, in) or a norm's (out,), with every row scaled."""
        return self.gamma.view(-1, *[1] * (weight.dim() - 1)) * weight

    def adapted_bias(self, bias: Tensor | None) -> Tensor | None:
        """Return the bias scaled and shifted."""
        return None if bias is None or self.beta is None else self.gamma * bias + self.beta
