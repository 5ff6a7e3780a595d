from __future__ import annotations

import math

import pytest
import torch

from mmsls.adapters.mona import Mona

SWIN_B = {128: 2, 256: 2, 512: 18, 1024: 2}
"""Blocks of each width."""


def by_hand(adapter: Mona, x: torch.Tensor, hw_shape: tuple[int, int]) -> torch.Tensor:
    """Recompute the published formula token by token, with plain sums."""
    height, width = hw_shape
    extra = x.shape[1] - height * width
    weights = {name: value.double() for name, value in adapter.named_parameters()}
    x = x.double()
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    normed = normed * weights['norm.weight'] + weights['norm.bias']
    z = weights['norm_scale'] * normed + weights['skip_scale'] * x
    z = z @ weights['down.weight'].T + weights['down.bias']
    filtered = torch.zeros_like(z)
    for token in range(x.shape[1]):
        row, column = divmod(token - extra, width)
        for position, reach in enumerate((1, 2, 3)):
            kernel = weights[f'filters.{position}.weight'][:, 0]  # (r, k, k)
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if token < extra:
                        source = token if dy == dx == 0 else None
                    else:
                        inside = 0 <= row + dy < height and 0 <= column + dx < width
                        source = extra + (row + dy) * width + column + dx if inside else None
                    if source is not None:
                        filtered[:, token] += z[:, source] * kernel[:, dy + reach, dx + reach] / 3
    z = z + filtered
    z = z + z @ weights['mix.weight'][:, :, 0, 0].T
    gelu = z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return x + adapter.scale * (gelu @ weights['up.weight'].T + weights['up.bias'])


@pytest.mark.parametrize('extra', [0, 1, 2])
@pytest.mark.parametrize('hw_shape', [(4, 4), (2, 5), (1, 1)])
def test_is_the_published_formula(randomise, extra, hw_shape):
    adapter = randomise(Mona(6, rank=3, scale=0.7)).eval()
    x = torch.randn(2, extra + hw_shape[0] * hw_shape[1], 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(adapter(x, hw_shape).double(), by_hand(adapter, x, hw_shape), atol=1e-6, rtol=1e-5)


def test_rows_and_columns_are_not_confused(randomise):
    adapter = randomise(Mona(4, rank=2)).eval()
    x = torch.randn(1, 12, 4)
    assert not torch.allclose(adapter(x, (3, 4)), adapter(x, (4, 3)))


def test_start_is_the_identity_on_nearly_the_raw_stream():
    adapter = Mona(6, rank=3).eval()
    x = torch.randn(1, 9, 6)
    assert torch.equal(adapter(x, (3, 3)), x)
    assert adapter.skip_scale == 1
    assert 0 < adapter.norm_scale < 1e-5
    assert all(parameter.abs().max() > 0 for name, parameter in adapter.named_parameters() if 'filters' in name)


def test_dropout_is_before_the_up_projection(randomise):
    adapter = randomise(Mona(6, rank=3, dropout=0.99)).train()
    torch.manual_seed(0)
    x = torch.randn(1, 100, 6)
    silent = torch.isclose(adapter(x, (10, 10)), x + adapter.up.bias, atol=1e-6).all(-1)
    assert silent.float().mean() > 0.9


@pytest.mark.parametrize(('m', 'n'), [(128, 64), (1024, 64), (192, 32)])
def test_parameters_are_the_papers_count(m, n):
    """The paper's parameter analysis: `(2 n + 3) m + n^2 + 84 n + 2` for each of the two adapters of a block."""
    assert sum(p.numel() for p in Mona(m, rank=n).parameters()) == (2 * n + 3) * m + n**2 + 84 * n + 2


def test_parameters_on_swin_b():
    """Under 5 % of the backbone (86.7 M), as the paper's title has it."""
    total = sum(
        blocks * len(Mona.slots) * sum(p.numel() for p in Mona(width).parameters()) for width, blocks in SWIN_B.items()
    )
    assert total == 3_607_136
    assert total < 0.05 * 86.7e6
