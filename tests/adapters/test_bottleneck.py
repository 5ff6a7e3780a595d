from __future__ import annotations

import math

import torch

from mmsls.adapters.bottleneck import Bottleneck


def by_hand(adapter: Bottleneck, x: torch.Tensor) -> torch.Tensor:
    low = x @ adapter.down.weight.T + adapter.down.bias
    gelu = low * 0.5 * (1 + torch.erf(low / math.sqrt(2)))
    return x + adapter.scale * (gelu @ adapter.up.weight.T + adapter.up.bias)


def test_is_the_published_formula(randomise):
    adapter = randomise(Bottleneck(6, rank=3, scale=0.7)).eval()
    x = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(adapter(x, (3, 3)), by_hand(adapter, x))


def test_start_is_the_identity_with_a_live_first_layer():
    adapter = Bottleneck(6, rank=3)
    x = torch.randn(1, 9, 6)
    assert torch.equal(adapter(x, (3, 3)), x)
    assert 0 < adapter.down.weight.abs().max() <= 0.02


def test_parameters_per_adapter():
    """The paper's section 2.1: `2 m d + d + m`, biases included."""
    for d, m in ((768, 64), (512, 8)):
        assert sum(p.numel() for p in Bottleneck(d, rank=m).parameters()) == 2 * m * d + d + m
    assert len(Bottleneck.slots) == 2
