"""RepAdapter: re-parameterisable linear adapters (Luo et al., arXiv 2302.08106)."""

from __future__ import annotations

from torch import Tensor, nn

from mmsls.adapters.base import Adapter
from mmsls.adapters.functional import linear_after
from mmsls.registry import ADAPTERS


@ADAPTERS.register_module()
class RepAdapter(Adapter):
    """Linear bottleneck `h + s * B(dropout(A h))` before the attention and before the FFN.

    It has no non-linearity, so it folds into the linear layer that follows (qkv, fc1) and costs nothing at inference.

    Args:
        embed_dims: Width C of the block.
        rank: Bottleneck width, a positive multiple of `groups`.
        scale: Factor s.
        dropout: Probability between A and B, in [0, 1).
        groups: Groups of B.

    Raises:
        ValueError: If `rank` is not a positive integer, or `groups` does not divide `rank` and `embed_dims`.
    """

    slots = ('attn_input', 'ffn_input')
    mergeable = True
    training_only = frozenset({'dropout'})

    def __init__(
        self, embed_dims: int, rank: int = 8, scale: float = 1.0, dropout: float = 0.1, groups: int = 2
    ) -> None:
        super().__init__(embed_dims, rank, scale)
        if groups < 1 or rank % groups or embed_dims % groups:
            raise ValueError(
                f'adapter.groups must divide adapter.rank ({rank}) and the width ({embed_dims}), got {groups!r}'
            )
        self.down = nn.Linear(embed_dims, rank)
        self.up = nn.Conv1d(rank, embed_dims, kernel_size=1, groups=groups)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier A, zero B."""
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.up.weight)
        for bias in self._biases():
            nn.init.zeros_(bias)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Return the new input of the branch, (B, L, C)."""
        low = self.dropout(self.down(x)).transpose(1, 2)  # (B, r, L)
        return x + self.scale * self.up(low).transpose(1, 2)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fold into the following linear layer: `W' = W (I + s B A)`, `b' = b + s W (B a + b_B)`."""
        up = self._dense_up().double()
        down_bias, up_bias = self._biases()
        delta = self.scale * up @ self.down.weight.double()
        shift = self.scale * (up @ down_bias.double() + up_bias.double())
        return linear_after(weight, bias, delta, shift)

    def _biases(self) -> tuple[Tensor, Tensor]:
        assert self.up.bias is not None  # Conv1d's own type allows none
        return self.down.bias, self.up.bias

    def _dense_up(self) -> Tensor:
        """Write the grouped (C, r / groups, 1) weight of B as a dense (C, r) matrix."""
        dense = self.up.weight.new_zeros(self.embed_dims, self.rank)
        rows, columns = self.embed_dims // self.up.groups, self.rank // self.up.groups
        for group in range(self.up.groups):
            block = self.up.weight[group * rows : (group + 1) * rows, :, 0]
            dense[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns] = block
        return dense
