"""A bridge fitted from tokens: exact on an affine change, extra tokens included; a share of tokens; memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmsls.backbones.bridge import LinearBridge
from mmsls.backbones.bridge_fit import BridgeFit, share_of


def tokens(batch=2, extra=1, length=12, width=4, seed=0):
    return torch.randn(batch, extra + length, width, generator=torch.Generator().manual_seed(seed))


def known(width=4, extra=1):
    bridge = LinearBridge(width, (0, 3), SimpleNamespace(shape=(3, 4)) if extra else None)
    drawn = torch.Generator().manual_seed(5)
    for parameter in bridge.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=drawn)
    return bridge


@pytest.mark.parametrize('extra', [0, 1, 2])
@torch.no_grad()
def test_an_affine_change_is_found(extra):
    truth = known(extra=extra)
    bridge = LinearBridge(4, (0, 3), truth.grid)
    fit = BridgeFit(bridge)
    for seed in range(40):
        x = tokens(extra=extra, seed=seed)
        fit.add(x, truth(x))
    fitted = fit.solve()
    assert fitted.explained > 0.99
    assert fitted.target == (0, 3)
    assert fitted.tokens == 40 * 2 * 12
    x = tokens(extra=extra, seed=99)
    assert (bridge(x) - truth(x)).abs().max() < 0.01
    assert '% of what the removed blocks change is linear' in str(fitted)


@torch.no_grad()
def test_a_share_of_every_images_tokens_is_enough():
    truth, bridge = known(), LinearBridge(4, (0, 3), known().grid)
    fit = BridgeFit(bridge, share=2)
    for seed in range(60):
        fit.add(tokens(seed=seed), truth(tokens(seed=seed)))
    fitted = fit.solve()
    assert fitted.tokens == 60 * 2 * 2
    assert fitted.explained > 0.99
    assert (bridge.bridge.weight - truth.bridge.weight).abs().max() < 0.02


def test_noise_leaves_it_as_it_was():
    bridge = LinearBridge(64, (1, 2))
    fit = BridgeFit(bridge)
    for seed in range(8):
        x, noise = (tokens(extra=0, length=2, width=64, seed=number) for number in (seed, seed + 100))
        fit.add(x, x + noise)
    fitted = fit.solve()
    assert fitted.explained < 0
    assert not bridge.bridge.weight.any()
    assert 'left out, since 32 tokens are too few' in str(fitted)


def test_memory_is_what_the_sums_take():
    fit = BridgeFit(LinearBridge(4, (0, 3), known().grid))
    for seed in range(4):
        fit.add(tokens(seed=seed), tokens(seed=seed + 10))
    taken = sum(fold.xx.nbytes + fold.xy.nbytes for sums in fit.sums.values() for fold in sums.folds)
    assert fit.bytes == taken


def test_no_images_is_said():
    with pytest.raises(ValueError, match='no tokens'):
        BridgeFit(LinearBridge(4, (0, 3))).solve()
    assert (share_of(100, 3), share_of(1, 100), share_of(5, 0)) == (34, 1, 5)


@pytest.mark.parametrize('extra', [False, True])
@torch.no_grad()
def test_a_bridge_of_a_rank_is_fitted_and_smaller(extra):
    grid = SimpleNamespace(shape=(3, 4)) if extra else None
    truth, bridge = LinearBridge(8, (0, 3), grid, setting=2), LinearBridge(8, (0, 3), grid, setting=2)
    for parameter in truth.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    sizes = [sum(p.numel() for p in one.parameters()) for one in (bridge, LinearBridge(8, (0, 3), grid))]
    assert sizes[0] < sizes[1]
    fit = BridgeFit(bridge)
    for seed in range(8):
        x = torch.randn(4, 12 + extra, 8, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(bridge(x), x)  # it changes nothing until it is fitted
        fit.add(x, truth(x))
    assert fit.solve().explained > 0.999
    x = torch.randn(4, 12 + extra, 8, generator=torch.Generator().manual_seed(9))
    assert (bridge(x) - truth(x)).abs().max() < 0.05 * (truth(x) - x).abs().max()


def test_a_rank_as_large_as_the_width_is_none():
    assert LinearBridge(8, (0, 3), setting=8).rank is None
    assert LinearBridge(8, (0, 3), setting=7).rank == 7
