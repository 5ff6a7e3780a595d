"""mmpretrain's Swin v2: the host's outputs, adapters behind none of its norms, bases of three key styles, cuts."""

from __future__ import annotations

import re

import pytest
import torch
from mmpretrain.models.backbones import SwinTransformerV2

from mmsls.backbones.swin.second import swin_v2_keys
from mmsls.deploy.merging import merge_backbone
from mmsls.integrations.mmpretrain import PrunedSwinTransformerV2

ARCH = {'embed_dims': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4), 'extra_norm_every_n_blocks': 2}
TINY = {'arch': ARCH, 'window_size': 4, 'img_size': 64, 'out_indices': (0, 1, 2, 3), 'pad_small_map': True}


def image(size=(61, 83)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def gap(left, right):
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


@pytest.fixture(scope='module')
def stock(randomise):
    model = randomise(SwinTransformerV2(**TINY)).requires_grad_(False)
    model.eval()  # the host's returns None
    return model


@pytest.fixture(scope='module')
def base(stock, tmp_path_factory):
    path = tmp_path_factory.mktemp('base') / 'swin.pth'
    torch.save(stock.state_dict(), path)
    return str(path)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['Convpass', 'LoRA', 'Mona', 'SSF', 'RepAdapter', 'NormTuning'])
def test_adapters_begin_as_the_identity_and_come_back(kind, stock, base, randomise):
    settings = {**TINY, 'base_checkpoint': base, 'adapter': {'type': f'mmsls.{kind}'}}
    model = PrunedSwinTransformerV2(**settings).eval()
    expected = stock(image())
    assert gap(model(image()), expected) == 0
    tuned = randomise(model, seed=1, only_trainable=True)(image())
    assert gap(tuned, expected) > 1e-3
    slim = {key: model.state_dict()[key] for key in model.trained_keys()}
    fresh = PrunedSwinTransformerV2(**settings).eval()
    fresh.load_state_dict(slim, strict=True)
    assert gap(fresh(image()), tuned) == 0
    if kind in ('LoRA', 'SSF'):
        merge_backbone(model)
        stock_again = SwinTransformerV2(**TINY)
        stock_again.load_state_dict(model.state_dict(), strict=False)
        stock_again.eval()
        assert gap(stock_again(image()), tuned) < 1e-5
    if kind == 'RepAdapter':
        with pytest.raises(ValueError, match='cannot be merged exactly'):
            merge_backbone(model)


@torch.no_grad()
def test_a_cut_one_is_the_host_without_the_blocks(base):
    cut = PrunedSwinTransformerV2(**TINY, base_checkpoint=base, kept_depths=(2, 1, 2, 0)).eval()
    other = SwinTransformerV2(**TINY)
    other.load_state_dict(torch.load(base), strict=False)
    other.eval()
    for stage, depth in zip(other.stages, (2, 1, 2, 0), strict=True):
        del stage.blocks[depth:]
    assert gap(cut(image()), other(image())) == 0
    found = {}
    cut.record_blocks(found.__setitem__)
    cut(image((36, 44)))
    assert [(found[stage, 0].hw_shape, found[stage, 0].stride) for stage in range(3)] == [
        ((9, 11), 4), ((5, 6), 8), ((3, 3), 16),
    ]  # fmt: skip
    assert cut.downsample_tokens(1, found[1, 0]).hw_shape == (3, 3)


def test_a_base_of_timm_or_microsoft_gives_what_it_gives_in_timm(randomise, tmp_path):
    import timm

    args = {'embed_dim': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4), 'window_size': 4}
    theirs = randomise(timm.create_model('swinv2_tiny_window8_256', img_size=128, num_classes=3, **args)).eval()
    state = theirs.state_dict()
    microsoft = {re.sub(r'layers\.(\d)\.d', lambda m: f'layers.{int(m[1]) - 1}.d', key): v for key, v in state.items()}
    assert swin_v2_keys(microsoft).keys() == swin_v2_keys(state).keys()
    torch.save(microsoft, tmp_path / 'base.pth')
    arch = {**ARCH, 'extra_norm_every_n_blocks': 0}
    settings = {**TINY, 'arch': arch, 'img_size': 128, 'pad_small_map': False, 'out_indices': (3,)}
    ours = PrunedSwinTransformerV2(**settings, base_checkpoint=str(tmp_path / 'base.pth')).eval()
    with torch.no_grad():
        expected = theirs.forward_features(image((128, 128))).permute(0, 3, 1, 2)
        assert gap(ours(image((128, 128))), [expected]) < 1e-5
