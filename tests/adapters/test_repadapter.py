from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.adapters import RepAdapter


def by_hand(adapter: RepAdapter, x: torch.Tensor) -> torch.Tensor:
    """Recompute `x + s B(A x)` with the groups of B written out."""
    low = x @ adapter.down.weight.T + adapter.down.bias
    groups = adapter.up.groups
    weights = adapter.up.weight[:, :, 0].chunk(groups)
    high = torch.cat([part @ weight.T for part, weight in zip(low.chunk(groups, -1), weights, strict=True)], -1)
    return x + adapter.scale * (high + adapter.up.bias)


@pytest.mark.parametrize('groups', [1, 2, 4])
def test_is_the_published_formula(randomise, groups):
    adapter = randomise(RepAdapter(8, rank=4, scale=0.3, groups=groups)).eval()
    x = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(adapter(x, (1, 7)), by_hand(adapter, x))


@pytest.mark.parametrize('groups', [1, 2, 4])
@pytest.mark.parametrize('with_bias', [True, False])
def test_merge_is_the_two_in_one(randomise, groups, with_bias):
    adapter = randomise(RepAdapter(8, rank=4, scale=0.3, groups=groups)).eval()
    linear = nn.Linear(8, 24, bias=with_bias)
    x = torch.randn(2, 7, 8)
    weight, bias = adapter.merged(linear.weight, linear.bias)
    torch.testing.assert_close(nn.functional.linear(x, weight, bias), linear(adapter(x, (1, 7))), atol=1e-5, rtol=0)


def test_start_is_the_identity_with_a_live_first_layer():
    adapter = RepAdapter(8, rank=4)
    x = torch.randn(1, 5, 8)
    assert torch.equal(adapter(x, (1, 5)), x)
    assert adapter.down.weight.abs().max() > 0


def test_dropout_sits_between_the_layers(randomise):
    adapter = randomise(RepAdapter(8, rank=4, dropout=0.99)).train()
    torch.manual_seed(0)
    x = torch.randn(1, 200, 8)
    silent = torch.isclose(adapter(x, (1, 200)), x + adapter.scale * adapter.up.bias, atol=1e-6).all(-1)
    assert silent.float().mean() > 0.9


@pytest.mark.parametrize(('width', 'rank', 'groups'), [(8, 3, 2), (9, 4, 2), (8, 4, 0), (8, 4, -2)])
def test_groups_that_do_not_divide_are_refused(width, rank, groups):
    with pytest.raises(ValueError, match=r'adapter\.groups'):
        RepAdapter(width, rank=rank, groups=groups)


def test_parameters_on_vit_b():
    """12 blocks of width 768, 2 slots, rank 8, B in 2 groups: half of B's weights."""
    adapter = RepAdapter(768, rank=8)
    weights = sum(p.numel() for name, p in adapter.named_parameters() if name.endswith('weight'))
    assert weights == 768 * 8 + 768 * 8 // 2
    assert 12 * len(RepAdapter.slots) * weights == 221_184
