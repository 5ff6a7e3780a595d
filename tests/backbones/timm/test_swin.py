"""PrunedTimmSwin: timm's Swin v2 and v1 by stages, bases of timm's and Microsoft's keys, any image size, bridges."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
import timm
import torch
from mmengine.registry import init_default_scope

from mmsls.backbones.bridge_fit import BridgeFit
from mmsls.backbones.timm.backbone import PrunedTimmBackbone
from mmsls.backbones.timm.host import TimmViT
from mmsls.backbones.timm.swin import PrunedTimmSwin
from mmsls.deploy.merging import merge_backbone

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
KINDS = {'v2': 'swinv2_tiny_window8_256', 'v1': 'swin_tiny_patch4_window7_224'}
TINY = {'embed_dim': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4), 'window_size': 4}
# Grids of whole windows, of broken ones, and of odd sides before a patch merging.
SIZES = [(64, 64), (96, 64), (36, 44)]


def image(size=(64, 64)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def same(left, right, tolerance=0.0):
    return len(left) == len(right) and all((x - y).abs().max() <= tolerance for x, y in zip(left, right, strict=True))


def stages(model, x, **more):
    return model.forward_intermediates(x, intermediates_only=True, **more)


@pytest.fixture(scope='module', params=KINDS)
def theirs(request, randomise):
    return randomise(timm.create_model(KINDS[request.param], num_classes=5, img_size=64, dynamic_img_size=True, **TINY))


@pytest.fixture(scope='module')
def base(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp('base') / 'swin.pth'
    torch.save(theirs.eval().state_dict(), path)
    return str(path)


@pytest.fixture
def ours(theirs, base):
    name = KINDS['v2' if type(theirs).__name__ == 'SwinTransformerV2' else 'v1']

    def run(base_checkpoint=base, **arguments):
        settings = {'img_size': 64, 'out_indices': (0, 1, 2, 3), 'model_args': TINY, **arguments}
        return PrunedTimmBackbone(name, base_checkpoint=base_checkpoint, **settings).eval()

    return run


@torch.no_grad()
@pytest.mark.parametrize('size', SIZES)
def test_outputs_are_timms_at_any_size(theirs, ours, size):
    model = ours(adapter=CONVPASS)
    assert isinstance(model, PrunedTimmSwin)
    assert same(model(image(size)), stages(theirs, image(size)))
    assert same(ours(out_indices=(1, 2))(image(size)), stages(theirs, image(size), indices=[1, 2]))


@torch.no_grad()
def test_images_that_are_no_whole_patches_are_padded(ours):
    padded = torch.zeros(1, 3, 64, 84)
    padded[:, :, :61, :83] = image((61, 83))
    assert same(ours()(image((61, 83))), ours()(padded))


@torch.no_grad()
def test_the_final_norm_is_that_of_the_last_stage(theirs, ours):
    expected = stages(theirs, image(), norm=True)
    assert same(ours(final_norm=True)(image()), expected)
    assert same(ours(final_norm=True, out_indices=3)(image()), expected[3:])
    with pytest.raises(ValueError, match=r'the final norm is that of stage 3, which out_indices \(0, 1\) leaves out'):
        ours(final_norm=True, out_indices=(0, 1))


@torch.no_grad()
def test_a_base_of_the_original_release_loads(theirs, ours, tmp_path):
    """Microsoft's files: a merging belongs to the stage before it, tables are stored, the head is there."""
    found = {'norm.weight': torch.ones(64), 'layers.0.blocks.1.attn_mask': torch.zeros(4)}
    for key, value in theirs.state_dict().items():
        key = re.sub(r'layers\.(\d)\.downsample', lambda match: f'layers.{int(match[1]) - 1}.downsample', key)
        found[key.replace('head.fc.', 'head.')] = value
    found['layers.0.blocks.0.attn.relative_position_index'] = torch.zeros(16, 16)
    torch.save({'model': found}, tmp_path / 'microsoft.pth')
    assert 'layers.0.downsample.reduction.weight' in found
    assert same(ours(str(tmp_path / 'microsoft.pth'))(image()), stages(theirs, image()))
    cut = ours(str(tmp_path / 'microsoft.pth'), kept_depths=(2, 1, 2, 0))
    assert same(cut(image())[:1], stages(theirs, image())[:1])


@torch.no_grad()
def test_cut_outputs_are_those_of_timms_model_without_the_blocks(theirs, ours):
    cut = ours(kept_depths=(2, 1, 2, 0))
    other = ours(None)
    other.model.load_state_dict(theirs.state_dict(), strict=False)
    for layer, depth in zip(other.model.layers, (2, 1, 2, 0), strict=True):
        del layer.blocks[depth:]
    assert same(cut(image()), stages(other.model, image()))
    assert [tuple(out.shape[1:]) for out in cut(image())] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]


@torch.no_grad()
def test_blocks_that_stay_keep_their_shift(theirs, ours):
    model = ours(kept_blocks=[(0, 1), (1, 0)])
    x = theirs.layers[0].blocks[1](theirs.patch_embed(image()))
    assert same(model(image())[:1], [x.permute(0, 3, 1, 2)])


@torch.no_grad()
def test_bridges_stand_in_and_are_fitted_on_maps(ours):
    full, model = ours(), ours(kept_depths=(2, 1, 2, 0), bridge=True)
    bridges = model.bridges()
    assert [bridge.target for bridge in bridges.values()] == [(1, 1), (2, 2), (3, 1)]
    assert same(model(image()), ours(kept_depths=(2, 1, 2, 0))(image()))
    bridge, change = next(iter(bridges.values())), torch.randn(16, 16)
    fit = BridgeFit(bridge)
    for _ in range(8):
        x = torch.randn(2, 6, 5, 16)
        fit.add(x, x + x @ change.T)
    assert fit.solve().explained > 0.99
    assert torch.allclose(bridge.bridge.weight, change, atol=1e-2)
    assert same(model(image())[:1], full(image())[:1])


@torch.no_grad()
def test_every_block_hands_out_its_tokens_and_what_they_become_in_the_merging(theirs, ours):
    model, found = ours(adapter=CONVPASS), {}
    handles = model.record_blocks(found.__setitem__)
    outs = model(image((36, 44)))
    for handle in handles:
        handle.remove()
    assert list(found) == [block for block, _ in model.iter_blocks()]
    assert [(found[stage, 1].hw_shape, found[stage, 1].stride) for stage in range(4)] == [
        ((9, 11), 4), ((5, 6), 8), ((3, 3), 16), ((2, 2), 32),
    ]  # fmt: skip
    top = found[1, 1]
    assert torch.equal(top.tokens.transpose(1, 2).view(outs[1].shape), outs[1])
    merged = model.downsample_tokens(1, top)
    assert (merged.tokens.shape, merged.hw_shape, merged.stride) == ((1, 9, 32), (3, 3), 16)
    assert torch.equal(merged.tokens, theirs.layers[2].downsample(outs[1].permute(0, 2, 3, 1)).flatten(1, 2))
    assert model.downsample_tokens(3, found[3, 1]) is found[3, 1]


def test_what_no_output_reads_is_not_trained(ours):
    model = ours(adapter=CONVPASS, out_indices=(0, 1))
    sum(out.square().mean() for out in model(image())).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split('.')[2] for name in trained} == {'0', '1'}
    assert all(p.grad is not None for p in trained.values())


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'out_indices': (0, 4)}, 'out_indices must name stages 0 to 3'),
        ({'out_type': 'cls_token'}, 'has no class token'),
        ({'kept_depths': (2, 2)}, 'kept_depths must hold one number per stage'),
        ({'model_args': {**TINY, 'embed_dim': 16}}, 'does not fit this backbone: misshapen'),
        (
            {'model_args': {**TINY, 'depths': (2, 2, 2, 2)}},
            '(left over|its tensors are not those).* Try: the model_name of the base, and model_args',
        ),
        ({'adapter': {'type': 'mmsls.LoRA', 'targets': ('qkv',)}}, 'adapter.targets'),
    ],
)
def test_what_does_not_fit_is_refused(ours, arguments, words):
    with pytest.raises(ValueError, match=words):
        ours(**arguments)


def test_one_that_is_told_to_take_one_size_says_so(ours):
    model = ours(model_args={**TINY, 'dynamic_img_size': False})
    with pytest.raises(ValueError, match='takes images of 64x64 only, got 96x64'):
        model(image((96, 64)))


def test_a_merge_that_no_norm_can_take_is_refused(ours, theirs):
    model = ours(adapter={'type': 'mmsls.RepAdapter'})
    if type(theirs).__name__ == 'SwinTransformer':
        merge_backbone(model)
        return
    with pytest.raises(ValueError, match="neither the layer after 'attn_input' nor a norm before it has a bias"):
        merge_backbone(model)


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_every_toolbox_builds_it_by_the_name_of_all_of_timm(toolbox):
    init_default_scope(toolbox)
    cfg = {'type': 'mmsls.PrunedTimmBackbone', 'model_name': KINDS['v2'], 'img_size': 64, 'model_args': TINY}
    model = import_module(f'{toolbox}.registry').MODELS.build({**cfg, 'kept_depths': (1, 1, 1, 1)})
    assert model.foundation().as_dict(('type', 'embed_dims', 'depths', 'kept_depths')) == {
        'type': 'timm.SwinTransformerV2', 'embed_dims': 8, 'depths': [2, 2, 3, 2], 'kept_depths': [1, 1, 1, 1],
    }  # fmt: skip
    assert model(image())[0].shape == (1, 64, 2, 2)


def test_the_host_of_plain_vits_says_who_takes_a_swin():
    with pytest.raises(ValueError, match='is no TimmViT, but PrunedTimmBackbone takes it by its name'):
        TimmViT(KINDS['v2'], model_args=TINY)
