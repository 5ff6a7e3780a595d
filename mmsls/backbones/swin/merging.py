"""The neighbours that a patch merging joins, gathered by one copy."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class PatchesByViews(nn.Unfold):
    """Drop-in for the `nn.Unfold` of a host's `PatchMerging`, for patches that neither overlap nor leave gaps.

    It puts out the same values in the same order, stored token by token, as the norm behind it reads them: the host's
    copies channel by channel, transposes, and copies again.
    """

    def forward(self, grid: Tensor) -> Tensor:
        """Turn (B, C, H, W) into (B, C * h * w, number of patches), patches of h x w; what is left over is cut off."""
        height, width = _pair(self.kernel_size)
        rows, columns = grid.shape[2] // height, grid.shape[3] // width
        patches = grid[:, :, : rows * height, : columns * width]
        patches = patches.unflatten(3, (columns, width)).unflatten(2, (rows, height))
        return patches.permute(0, 2, 4, 1, 3, 5).reshape(len(grid), rows * columns, -1).transpose(1, 2)


def speed_up(merging: Any) -> None:
    """Give a host's patch merging the faster sampler, in place, where its patches tile the grid."""
    sampler = merging.sampler
    kernel, stride = _pair(sampler.kernel_size), _pair(sampler.stride)
    if kernel == stride and _pair(sampler.padding) == (0, 0) and _pair(sampler.dilation) == (1, 1):
        sampler.__class__ = PatchesByViews  # with the numbers of the host's, which its merging reads


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
