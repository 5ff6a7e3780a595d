from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.adapters.functional import linear_after, plus_linear, quick_gelu, split_extra_tokens


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


@pytest.mark.parametrize('shape', [(2, 6), (2, 2, 3)])
def test_plus_linear_is_what_it_says(shape):
    torch.manual_seed(0)
    linear, found = nn.Linear(3, 5), []
    for compute in (plus_linear, lambda stream, hidden, linear, scale: stream + scale * linear(hidden)):
        torch.manual_seed(1)
        stream, hidden = (torch.randn(*shape, width, requires_grad=True) for width in (5, 3))
        linear.zero_grad()
        out = compute(stream, hidden, linear, 0.3)
        (out**2).sum().backward()
        found.append((out.detach(), stream.grad, hidden.grad, linear.weight.grad, linear.bias.grad))
    torch.testing.assert_close(found[0], found[1])


def test_plus_linear_is_the_identity_where_the_layer_is_zero():
    linear, stream = nn.Linear(3, 5), torch.randn(2, 6, 5)
    nn.init.zeros_(linear.weight), nn.init.zeros_(linear.bias)
    assert torch.equal(plus_linear(stream, torch.randn(2, 6, 3), linear, 0.3), stream)


def test_plus_linear_keeps_the_precision_of_the_stream_and_takes_replaced_layers():
    linear, stream, hidden = nn.Linear(3, 5), torch.randn(2, 6, 5), torch.randn(2, 6, 3)
    expected = stream + linear(hidden)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = plus_linear(stream, hidden.bfloat16(), linear)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    assert torch.equal(plus_linear(stream, hidden, nn.Sequential(linear)), expected)
    without = nn.Linear(3, 5, bias=False)
    assert torch.equal(plus_linear(stream, hidden, without), stream + without(hidden))
