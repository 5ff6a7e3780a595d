"""What stands in for removed blocks: an affine map of the tokens that the last kept block gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mmsls.adapters.functional import split_extra_tokens
from mmsls.pruning_index.fields import is_bridge_setting
from mmsls.scoring import BlockId

BridgeSetting = bool | int
"""No bridges, full ones, or ones of a rank."""
BRIDGE = 'bridge'
"""Starts the names of a bridge's parameters, behind the place of the block that it stands for."""


class Grid(Protocol):
    """Who knows the token grid of the pass under way."""

    @property
    def shape(self) -> tuple[int, int]:
        """The grid (H, W)."""


class LinearBridge(nn.Module):
    """`x + W x + b` on every token, in the place of a run of blocks; zeros until it is fitted, which changes nothing.

    An extra token (a class token) takes part of all others: `e + W' [e, mean of the tokens] + b'`. Fitted by least
    squares on unlabelled images (`mmsls.runs.fit_bridges`); a relative of ReplaceMe (arXiv 2505.02819), which does so
    for language models. With a rank r the matrix W is a product of (C, r) and (r, C) and takes 2 C r weights
    instead of C^2; only the second factor is zeros then, or training could move neither.

    Args:
        embed_dims: Width C of the tokens.
        target: `(stage, block)` whose output it stands for, at full depth.
        grid: Knows the token grid where extra tokens come first; None where none do.
        extra: Whether anything reads the extra tokens; where nothing does they pass as they are.
        setting: Highest rank of the maps; True, or C and more: full ones.
    """

    def __init__(
        self,
        embed_dims: int,
        target: BlockId,
        grid: Grid | None = None,
        extra: bool = True,
        setting: BridgeSetting = True,
    ) -> None:
        super().__init__()
        self.embed_dims, self.target, self.grid = embed_dims, target, grid
        self.rank = None if isinstance(setting, bool) or setting >= embed_dims else setting
        self.bridge = affine(embed_dims, embed_dims, self.rank)
        self.bridge_extra = affine(2 * embed_dims, embed_dims, self.rank) if extra and grid is not None else None
        self.reset()

    def reset(self) -> None:
        """Let it change nothing."""
        for linear in self.maps().values():
            nn.init.zeros_(output_layer(linear).weight)
            nn.init.zeros_(output_layer(linear).bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split tokens (B, K + L, C) into what the maps take: extra tokens with the mean of the others, and the others.

        Returns:
            (B, K, 2C), K being 0 where there are none, and (B, L, C).
        """
        if self.grid is None:
            return x.new_zeros((x.shape[0], 0, 2 * x.shape[2])), x
        extra, tokens = split_extra_tokens(x, self.grid.shape)
        mean = tokens.mean(dim=1, keepdim=True).expand(-1, extra.shape[1], -1)
        return torch.cat([extra, mean], dim=2), tokens

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return tokens (B, K + L, C) for tokens of the same shape; hosts may hand the token grid and more along."""
        extra, tokens = self.split(x)
        change = self.bridge(tokens)
        if extra.shape[1]:
            ahead = (
                extra.new_zeros(x[:, : extra.shape[1]].shape) if self.bridge_extra is None else self.bridge_extra(extra)
            )
            change = torch.cat([ahead, change], dim=1)
        return x + change

    def maps(self) -> Mapping[str, nn.Module]:
        """Return the maps by what they take: `'tokens'`, and `'extra'` where there are extra tokens."""
        found = {'tokens': self.bridge, 'extra': self.bridge_extra}
        return {name: linear for name, linear in found.items() if linear is not None}


class Passed(nn.Module):
    """Lets tokens through, whatever a host hands along."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the tokens."""
        return x


def check_bridge(setting: Any) -> None:
    """Refuse what is no setting of the bridges.

    Raises:
        ValueError: Naming it.
    """
    if not is_bridge_setting(setting):
        raise ValueError(f'bridge must be True, False or a rank of at least 2, got {setting!r}')


def affine(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """Return an affine map, of full rank or as a product."""
    if rank is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def output_layer(linear: nn.Module) -> Any:
    """Return the layer of an affine map that has its shift."""
    return linear[-1] if isinstance(linear, nn.Sequential) else linear


def is_bridge_key(rest: str) -> bool:
    """Whether what follows a block's place in a state-dict key is a bridge's parameter.

    Example:
        >>> is_bridge_key('bridge.weight'), is_bridge_key('attn.proj.weight')
        (True, False)
    """
    return rest.startswith(BRIDGE)
