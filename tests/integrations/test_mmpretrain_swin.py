"""Swin in MMPretrain: what differs from the dense hosts."""

from __future__ import annotations

import copy

import pytest
import torch
from mmpretrain.models.backbones import SwinTransformer

from mmsls.integrations.mmpretrain import PrunedSwinTransformer

ARCH = {'embed_dims': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4)}
TINY = {'arch': ARCH, 'window_size': 4, 'img_size': 64, 'drop_path_rate': 0.3}
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}


@pytest.fixture(scope='module')
def base(tmp_path_factory, randomise):
    """A base as ImageNet training leaves it: Microsoft's and OpenMMLab's first files call the final norm `norm`."""
    state = randomise(SwinTransformer(**TINY)).state_dict()
    state = {key.replace('norm3.', 'norm.') if key.startswith('norm3.') else key: v for key, v in state.items()}
    path = tmp_path_factory.mktemp('base') / 'swin.pth'
    torch.save({'model': {**state, 'head.weight': torch.zeros(3, 64), 'head.bias': torch.zeros(3)}}, path)
    return str(path)


@pytest.fixture(scope='module')
def host(randomise):
    """A function that builds the host's backbone with the base's values, in eval mode (its `eval()` returns None)."""

    def run(**arguments):
        model = randomise(SwinTransformer(**TINY, **arguments))
        model.eval()
        return model

    return run


@pytest.fixture(scope='module')
def stock(host):
    return host()


def image(size=(64, 64)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def gap(left, right):
    assert [x.shape for x in left] == [x.shape for x in right]
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


# 32 x 32: the last stage is one token, smaller than a window. 128 x 128: its grid is exactly one window, and the host
# does not shift there.
@pytest.mark.parametrize(
    ('size', 'pad_small_map'), [((128, 128), False), ((160, 128), False), ((128, 128), True), ((67, 33), True)]
)
@pytest.mark.parametrize('fused', [True, False])
def test_features_are_the_hosts(base, host, size, pad_small_map, fused):
    theirs = host(pad_small_map=pad_small_map)
    ours = PrunedSwinTransformer(**TINY, base_checkpoint=base, pad_small_map=pad_small_map, fused_attention=fused)
    with torch.no_grad():
        assert gap(ours.eval()(image(size)), theirs(image(size))) <= (1e-4 if fused else 0)


def test_a_grid_smaller_than_the_window_is_refused_as_in_the_host(base):
    with pytest.raises(ValueError, match=r'window_size is 4.*2 x 2.*pad_small_map'):
        PrunedSwinTransformer(**TINY, base_checkpoint=base)(image((64, 64)))


def test_the_bases_final_norm_becomes_the_last_output_norm_and_trains(base, stock):
    ours = PrunedSwinTransformer(**TINY, base_checkpoint=base, adapter=CONVPASS)
    assert torch.equal(ours.norm3.weight, stock.norm3.weight)
    assert torch.equal(ours.norm3.bias, stock.norm3.bias)
    trained = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if '.adapters.' not in name} == {'norm3.weight', 'norm3.bias'}


def test_a_base_in_the_hosts_own_style_keeps_its_last_norm(tmp_path, stock):
    path = tmp_path / 'own.pth'
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in stock.state_dict().items()}}, path)
    ours = PrunedSwinTransformer(**TINY, base_checkpoint=str(path), out_indices=(1, 3))
    assert torch.equal(ours.norm3.weight, stock.norm3.weight)
    assert ours.norm1.weight.eq(1).all()


def test_a_first_version_checkpoint_without_a_base_loads_its_final_norm(base, stock):
    ours = PrunedSwinTransformer(**TINY).eval()
    state = torch.load(base, weights_only=True)['model']
    missing, surplus = ours.load_state_dict(state, strict=False)
    assert (missing, sorted(surplus)) == ([], ['head.bias', 'head.weight'])
    with torch.no_grad():
        assert gap(ours(image((128, 128))), stock(image((128, 128)))) < 1e-4


@pytest.mark.parametrize('after', [False, True])
def test_pruned_depths_keep_widths_and_slim_state_comes_back(base, randomise, after):
    options = {**TINY, 'out_indices': (2, 3), 'out_after_downsample': after, 'base_checkpoint': base}
    tuned = randomise(PrunedSwinTransformer(**options, adapter=CONVPASS), only_trainable=True).eval()
    pruned = PrunedSwinTransformer(**options, adapter=CONVPASS, kept_depths=(2, 1, 2, 0)).eval()
    pruned.load_state_dict({key: tuned.state_dict()[key] for key in tuned.trained_keys()})
    by_hand = copy.deepcopy(tuned)
    for stage, depth in zip(by_hand.stages, (2, 1, 2, 0), strict=True):
        del stage.blocks[depth:]
    x = image((128, 128))
    with torch.no_grad():
        assert [out.shape[1] for out in pruned(x)] == ([64, 64] if after else [32, 64])
        assert gap(pruned(x), by_hand(x)) == 0
        assert gap(pruned(x), tuned(x)) > 1e-3


def test_the_fingerprint_is_that_of_the_other_hosts(base):
    from mmsls.integrations.mmdet import PrunedSwinTransformer as OfMMDet

    theirs = OfMMDet(**{**ARCH, 'window_size': 4}).fingerprint()
    for after in (False, True):
        assert PrunedSwinTransformer(**TINY, out_after_downsample=after).fingerprint() == theirs


def test_a_timm_base_gives_timms_features(tmp_path, randomise):
    from timm.models.swin_transformer import SwinTransformer as OfTimm

    theirs = OfTimm(img_size=64, embed_dim=8, depths=(2, 2, 3, 2), num_heads=(1, 2, 2, 4), window_size=2, num_classes=5)
    torch.save(randomise(theirs).eval().state_dict(), tmp_path / 'timm.pth')
    options = {**TINY, 'window_size': 2, 'base_checkpoint': str(tmp_path / 'timm.pth')}
    with torch.no_grad():
        expected = theirs.forward_features(image()).permute(0, 3, 1, 2)
        for fused in (True, False):
            (out,) = PrunedSwinTransformer(**options, fused_attention=fused).eval()(image())
            assert (out - expected).abs().max() < 1e-4


@pytest.mark.parametrize('wrong', [{'arch': {**ARCH, 'embed_dims': 16}}, {'patch_size': 2}])
def test_a_base_of_another_width_or_patch_size_is_refused(base, wrong):
    with pytest.raises(ValueError, match=r'base_checkpoint: .*does not fit.*patch_embed'):
        PrunedSwinTransformer(**{**TINY, **wrong}, base_checkpoint=base)
