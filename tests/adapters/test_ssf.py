from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.adapters.ssf import SSF


def adapter_of(layer) -> SSF:
    return SSF(6, slot='any', weight=layer.weight, bias=layer.bias)


@pytest.mark.parametrize('layer', [nn.Linear(6, 18), nn.LayerNorm(6), nn.Linear(6, 4)])
def test_is_the_published_formula(randomise, layer):
    randomise(layer)
    adapter = randomise(adapter_of(layer), seed=1)
    x = torch.randn(5, 6)
    expected = adapter.gamma * layer(x) + adapter.beta
    weight, bias = adapter.merged(layer.weight, layer.bias)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        torch.testing.assert_close(layer(x), expected)


def test_start_is_the_base():
    layer = nn.Linear(6, 18)
    weight, bias = adapter_of(layer).merged(layer.weight, layer.bias)
    assert torch.equal(weight, layer.weight)
    assert torch.equal(bias, layer.bias)


def test_a_layer_without_a_bias_is_scaled_only(randomise):
    layer = nn.Linear(6, 18, bias=False)
    adapter = randomise(adapter_of(layer))
    weight, bias = adapter.merged(layer.weight, layer.bias)
    assert bias is None
    assert [name for name, _ in adapter.named_parameters()] == ['gamma']
    torch.testing.assert_close(weight, adapter.gamma[:, None] * layer.weight)


def test_parameters_on_vit_b():
    """Per block of width C = 768: two norms, qkv, proj, fc1 and fc2, 22 C in all; 0.20 M in 12 blocks."""
    width = 768
    layers = {
        'attn_norm': nn.LayerNorm(width),
        'attn_qkv': nn.Linear(width, 3 * width),
        'attn_proj': nn.Linear(width, width),
        'ffn_norm': nn.LayerNorm(width),
        'ffn_fc1': nn.Linear(width, 4 * width),
        'ffn_fc2': nn.Linear(4 * width, width),
    }
    assert set(layers) == set(SSF.slots)
    per_block = sum(p.numel() for layer in layers.values() for p in adapter_of(layer).parameters())
    assert per_block == 22 * width
    assert 12 * per_block == 202_752
