"""Adapters of single layers: what they make of a weight and a bias."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmsls.adapters.base import Adapter


class LayerAdapter(Adapter):
    """An adapter that changes what one layer computes by changing the weight and bias that the layer sees.

    Its slots are `attn_norm`, `attn_qkv`, `attn_proj`, `ffn_norm`, `ffn_fc1` and `ffn_fc2`. It folds into the layer
    exactly: merging writes down what the layer sees anyway.

    Args:
        embed_dims: Width C of the block.
        rank: As in `Adapter`.
        scale: As in `Adapter`.
        slot: Where this instance sits.
        weight: Weight of that layer, for its shape: (out, in), of a norm (C,); q, k and v are rows of one weight in
            this order.
        bias: Its bias, or None.
    """

    mergeable = True

    def __init__(
        self, embed_dims: int, rank: int = 1, scale: float = 1.0, *, slot: str, weight: Tensor, bias: Tensor | None
    ) -> None:
        super().__init__(embed_dims, rank, scale)
        self.slot = slot

    @classmethod
    def for_slot(cls, slot: str, embed_dims: int, layer: Any, **arguments: Any) -> LayerAdapter:
        """Build the instance of one slot."""
        return cls(embed_dims, slot=slot, weight=layer.weight, bias=layer.bias, **arguments)

    def adapted_weight(self, weight: Tensor) -> Tensor:
        """Return the weight that the layer is to see, of the same shape."""
        return weight

    def adapted_bias(self, bias: Tensor | None) -> Tensor | None:
        """Return the bias that the layer is to see; None stays None."""
        return bias

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what the layer sees."""
        return self.adapted_weight(weight), self.adapted_bias(bias)
