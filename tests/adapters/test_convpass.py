from __future__ import annotations

import pytest
import torch

from mmsls.adapters import Convpass


def by_hand(adapter: Convpass, x: torch.Tensor, hw_shape: tuple[int, int]) -> torch.Tensor:
    """Recompute the published formula token by token, by plain sums: the class token sees the kernel's centre alone."""
    height, width = hw_shape
    extra = x.shape[1] - height * width
    weights = {name: value.double() for name, value in adapter.named_parameters()}
    gelu = lambda t: t / (1 + torch.exp(-1.702 * t))  # noqa: E731
    low = gelu(torch.einsum('blc,rc->blr', x.double(), weights['down.weight']) + weights['down.bias'])
    mixed = torch.zeros_like(low)
    for token in range(x.shape[1]):
        row, column = divmod(token - extra, width)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if token < extra:
                    source = token if dy == dx == 0 else None
                else:
                    inside = 0 <= row + dy < height and 0 <= column + dx < width
                    source = extra + (row + dy) * width + column + dx if inside else None
                if source is not None:
                    mixed[:, token] += low[:, source] @ weights['conv.weight'][:, :, dy + 1, dx + 1].T
    high = torch.einsum('blr,cr->blc', gelu(mixed + weights['conv.bias']), weights['up.weight']) + weights['up.bias']
    return adapter.scale * high


@pytest.mark.parametrize('extra', [0, 1, 3])
@pytest.mark.parametrize('hw_shape', [(4, 4), (2, 5), (5, 2), (1, 1)])
def test_is_the_published_formula(randomise, extra, hw_shape):
    adapter = randomise(Convpass(6, rank=3, scale=0.7)).eval()
    x = torch.randn(2, extra + hw_shape[0] * hw_shape[1], 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(adapter(x, hw_shape).double(), by_hand(adapter, x, hw_shape), atol=1e-6, rtol=1e-5)


def test_rows_and_columns_are_not_confused(randomise):
    adapter = randomise(Convpass(4, rank=2)).eval()
    x = torch.randn(1, 12, 4)
    assert not torch.allclose(adapter(x, (3, 4)), adapter(x, (4, 3)))


def test_start_is_zero_with_an_identity_convolution():
    adapter = Convpass(6, rank=3)
    assert adapter(torch.randn(1, 9, 6), (3, 3)).abs().max() == 0
    image = torch.randn(1, 3, 4, 5)
    assert torch.equal(adapter.conv(image), image)
    assert adapter.down.weight.abs().max() > 0
    assert not torch.equal(Convpass(6, rank=3, xavier_init=True).conv(image), image)


def test_dropout_is_before_the_up_projection(randomise):
    adapter = randomise(Convpass(6, rank=3, dropout=0.99)).train()
    torch.manual_seed(0)
    out = adapter(torch.randn(1, 100, 6), (10, 10))
    # Where all three low-rank values are dropped the up bias alone is left.
    silent = torch.isclose(out, adapter.scale * adapter.up.bias).all(-1)
    assert silent.float().mean() > 0.9


def test_parameters_on_vit_b():
    """12 blocks of width 768 with 2 slots at rank 8: 0.33 M, by the abstract at most 0.5 % of ViT-B (86 M)."""
    per_slot = (768 * 8 + 8) + (8 * 8 * 9 + 8) + (8 * 768 + 768)
    adapter = Convpass(768, rank=8)
    assert sum(p.numel() for p in adapter.parameters()) == per_slot
    total = 12 * len(Convpass.slots) * per_slot
    assert total == 327_552
    assert total < 0.005 * 86e6
