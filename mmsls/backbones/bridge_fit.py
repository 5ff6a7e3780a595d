"""A bridge fitted by least squares: from the tokens below what was removed to those above it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from mmengine.dist import all_gather_object
from torch import Tensor

from mmsls.backbones.bridge import LinearBridge, output_layer
from mmsls.scoring import BlockId
from mmsls.scoring.bridge import FOLDS, BridgeMap, BridgeSums


@dataclass(frozen=True)
class FittedBridge:
    """How well a bridge stands in for what it replaces.

    Attributes:
        target: `(stage, block)` that it stands for.
        explained: Share of what the removed blocks change in the tokens that it explains, on images it was not fitted
            on; where that is below 0, the bridge stays as it was. NaN where there was one batch of images.
        ridge: Regularisation that was chosen, relative to the mean variance of a channel.
        tokens: How many tokens it was fitted on.
    """

    target: BlockId
    explained: float
    ridge: float
    tokens: int

    def __str__(self) -> str:
        stage, block = self.target
        if self.explained < 0:
            return (
                f'bridge to stage {stage}, block {block}: left out, since {self.tokens} tokens are too few to fit it: '
                'on images that it was not fitted on it does worse than none'
            )
        return (
            f'bridge to stage {stage}, block {block}: {100 * self.explained:.1f} % of what the removed blocks change '
            f'is linear ({self.tokens} tokens, ridge {self.ridge:g})'
        )


class BridgeFit:
    """Collects sums for one bridge, over batches and processes, and solves for it.

    Args:
        bridge: The bridge.
        share: Most tokens of an image that are used, drawn at random; None: all.
        seed: Of that draw.
    """

    def __init__(self, bridge: LinearBridge, share: int | None = None, seed: int = 0) -> None:
        self.bridge, self.share, self.tokens = bridge, share, 0
        self.sums = {name: BridgeSums() for name in bridge.maps()}
        self._drawn = torch.Generator().manual_seed(seed)

    @property
    def bytes(self) -> int:
        """Memory that the sums take once they are there."""
        out = self.bridge.embed_dims
        sizes = [((2 if name == 'extra' else 1) * out + 1, out) for name in self.bridge.maps()]
        return sum(8 * FOLDS * width * (width + out) for width, out in sizes)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add what the bridge shall learn of a batch: the change from tokens x to y.

        Args:
            x: (B, K + L, C), or a map (B, H, W, C) where blocks give maps.
            y: Of the same shape.

        Raises:
            ValueError: If a value is not finite.
        """
        x, y = (values.flatten(1, -2) for values in (x, y))
        extra, tokens = self.bridge.split(x)
        change, ahead = y - x, extra.shape[1]
        length = tokens.shape[1]
        if self.share is not None and self.share < length:
            chosen = torch.randperm(length, generator=self._drawn)[: self.share].to(x.device)
        else:
            chosen = torch.arange(length, device=x.device)
        parts = {'tokens': (tokens[:, chosen], change[:, ahead + chosen]), 'extra': (extra, change[:, :ahead])}
        for name, sums in self.sums.items():
            sums.add(*(values.flatten(0, 1).double().cpu().numpy() for values in parts[name]))
        self.tokens += tokens.shape[0] * len(chosen)

    def solve(self) -> FittedBridge:
        """Fit the bridge in place, from the sums of all processes. Call it on every rank.

        Raises:
            ValueError: If there were no images.
        """
        whole = {name: reduce(add, all_gather_object(sums)) for name, sums in self.sums.items()}
        solved = {name: sums.solve(rank=self.bridge.rank) for name, sums in whole.items()}
        for name, linear in self.bridge.maps().items():
            if not solved[name].explained < 0:
                take(linear, solved[name])
        main = solved['tokens']
        return FittedBridge(self.bridge.target, main.explained, main.ridge, sum(all_gather_object(self.tokens)))


@torch.no_grad()
def take(linear: Any, fitted: BridgeMap) -> None:
    """Write a fitted map into a layer, or into the two of a product, in place."""
    slope, last = fitted.matrix[:-1], output_layer(linear)
    if fitted.basis is None:
        last.weight.copy_(torch.from_numpy(slope.T.copy()))
    else:
        linear[0].weight.copy_(torch.from_numpy((slope @ fitted.basis).T.copy()))
        last.weight.copy_(torch.from_numpy(fitted.basis.copy()))
    last.bias.copy_(torch.from_numpy(fitted.matrix[-1].copy()))


def share_of(tokens: int, images: int) -> int:
    """Return how many tokens of each image make up a number of tokens, at least 1.

    Example:
        >>> share_of(200_000, 1000)
        200
    """
    return max(1, -(-tokens // max(images, 1)))
