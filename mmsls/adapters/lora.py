"""LoRA: low-rank updates of weights (Hu et al., ICLR 2022, arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.adapters.base import PARTS
from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.registry import ADAPTERS

SLOT_OF = {'q': 'attn_qkv', 'k': 'attn_qkv', 'v': 'attn_qkv', 'proj': 'attn_proj', 'fc1': 'ffn_fc1', 'fc2': 'ffn_fc2'}
QKV = ('q', 'k', 'v')
PART_OF = {**{target: (f'attn_{target}',) for target in QKV}, 'proj': (), 'fc1': PARTS['ffn_fc1'], 'fc2': ()}
"""Where a target lies in a host that keeps q, k and v apart, or has a gated FFN."""


@ADAPTERS.register_module()
class LoRA(LayerAdapter):
    """`W + s B A` in place of the weight W of each target, A (r, in) and B (out, r).

    The update meets the weight, not the tokens: so it works where the host has no linear layer to hook
    (`nn.MultiheadAttention`), and folds in exactly. The paper's factor alpha / r is `scale`.

    Args:
        embed_dims: Width C of the block.
        rank: Rank r of every update, at least 1.
        scale: Factor s.
        targets: Which weights: `'q'`, `'k'`, `'v'`, `'proj'` of the attention, `'fc1'`, `'fc2'` of the FFN.
        slot: Where this instance sits.
        weight: Weight of that layer, for its shape.
        bias: Its bias.

    Raises:
        ValueError: If `rank` is not a positive integer, or `targets` is empty, repeats one or names another.
    """

    def __init__(
        self,
        embed_dims: int,
        rank: int = 8,
        scale: float = 1.0,
        targets: Sequence[str] = ('q', 'v'),
        *,
        slot: str,
        weight: Tensor,
        bias: Tensor | None,
    ) -> None:
        super().__init__(embed_dims, rank, scale, slot=slot, weight=weight, bias=bias)
        fused = slot == 'attn_qkv'
        here = [target for target in checked_targets(targets) if slot in (SLOT_OF[target], *PART_OF[target])]
        self.pieces = len(QKV) if fused else 1
        self.positions = [QKV.index(target) if fused else 0 for target in here]
        self.down = nn.Parameter(torch.empty(len(here), rank, weight.shape[1]))
        self.up = nn.Parameter(torch.empty(len(here), weight.shape[0] // self.pieces, rank))
        self.reset_parameters()

    @classmethod
    def slots_for(cls, **arguments: Any) -> tuple[str, ...]:
        """Return the layers that hold the targets."""
        targets = checked_targets(arguments.get('targets', ('q', 'v')))
        return tuple(dict.fromkeys(SLOT_OF[target] for target in targets))

    @classmethod
    def parts_for(cls, slot: str, parts: tuple[str, ...], **arguments: Any) -> tuple[str, ...]:  # noqa: ARG003
        """Return the parts that hold a target."""
        targets = checked_targets(arguments.get('targets', ('q', 'v')))
        return tuple(part for part in parts if any(part in PART_OF[target] for target in targets))

    def reset_parameters(self) -> None:
        """Kaiming A, zero B."""
        for down in self.down:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        nn.init.zeros_(self.up)

    def adapted_weight(self, weight: Tensor) -> Tensor:
        """Return `W + s B A`, q, k and v each with its own update."""
        pieces = list(weight.chunk(self.pieces))
        for position, down, up in zip(self.positions, self.down, self.up, strict=True):
            pieces[position] = pieces[position] + self.scale * (up @ down)
        return torch.cat(pieces)


def checked_targets(targets: Sequence[str]) -> list[str]:
    """Return the targets in the order of the layers.

    Raises:
        ValueError: If there is none, one twice, or an unknown one.

    Example:
        >>> checked_targets(('v', 'q'))
        ['q', 'v']
    """
    found = [target for target in SLOT_OF if target in targets]
    if isinstance(targets, str) or not found or len(found) != len(targets):
        raise ValueError(f'adapter.targets must name some of {", ".join(SLOT_OF)}, each once, got {targets!r}')
    return found
