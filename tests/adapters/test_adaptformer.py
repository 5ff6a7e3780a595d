from __future__ import annotations

import pytest
import torch

from mmsls.adapters.adaptformer import AdaptFormer


def by_hand(adapter: AdaptFormer, x: torch.Tensor) -> torch.Tensor:
    low = (x @ adapter.down.weight.T + adapter.down.bias).clamp(min=0)
    return adapter.scale * (low @ adapter.up.weight.T + adapter.up.bias)


def test_is_the_published_formula(randomise):
    adapter = randomise(AdaptFormer(6, rank=3, scale=0.7)).eval()
    x = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(adapter(x, (3, 3)), by_hand(adapter, x))


def test_start_is_zero_with_a_live_first_layer():
    adapter = AdaptFormer(6, rank=3)
    assert adapter(torch.randn(1, 9, 6), (3, 3)).abs().max() == 0
    assert adapter.down.weight.abs().max() > 0
    assert adapter.scale == 0.1


def test_dropout_is_before_the_up_projection(randomise):
    adapter = randomise(AdaptFormer(6, rank=3, dropout=0.99)).train()
    torch.manual_seed(0)
    out = adapter(torch.randn(1, 100, 6), (10, 10))
    silent = torch.isclose(out, adapter.scale * adapter.up.bias).all(-1)
    assert silent.float().mean() > 0.9


def test_parameters_on_vit_b():
    """12 blocks of width 768 at the paper's rank 64: 1.19 M, "less than 2 % extra parameters" of ViT-B's 86 M."""
    total = 12 * len(AdaptFormer.slots) * sum(p.numel() for p in AdaptFormer(768).parameters())
    assert total == 12 * (2 * 768 * 64 + 64 + 768) == 1_189_632
    assert total < 0.02 * 86e6


@pytest.mark.parametrize('branch', ['attn', 'ffn'])
def test_sits_beside_the_ffn_alone(branch):
    assert any(slot.startswith(branch) for slot in AdaptFormer.slots) is (branch == 'ffn')
