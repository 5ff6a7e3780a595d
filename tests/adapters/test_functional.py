from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.adapters.functional import linear_after, quick_gelu, split_extra_tokens


def test_split_extra_tokens():
    x = torch.arange(2 * 8 * 3).view(2, 8, 3)
    extra, grid = split_extra_tokens(x, (2, 3))
    assert torch.equal(extra, x[:, :2])
    assert torch.equal(grid, x[:, 2:])
    assert split_extra_tokens(x, (2, 4))[0].shape == (2, 0, 3)


@pytest.mark.parametrize('with_bias', [True, False])
def test_linear_after_is_the_two_layers_in_one(with_bias):
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 4), torch.randn(5) if with_bias else None
    delta, shift, x = torch.randn(4, 4), torch.randn(4), torch.randn(7, 4)
    expected = nn.functional.linear(x + x @ delta.T + shift, weight, bias)
    new_weight, new_bias = linear_after(weight, bias, delta, shift)
    assert new_weight.dtype == torch.float32
    torch.testing.assert_close(nn.functional.linear(x, new_weight, new_bias), expected)


def test_quick_gelu_is_near_gelu():
    x = torch.linspace(-5, 5, 101)
    assert (quick_gelu(x) - nn.functional.gelu(x)).abs().max() < 0.025
    assert quick_gelu(torch.tensor(1.0)).item() == pytest.approx(1 / (1 + 2.718281828**-1.702))
