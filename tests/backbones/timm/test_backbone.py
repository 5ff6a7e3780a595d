"""PrunedTimmBackbone: bases of timm's and the original keys, by name in every toolbox, post-norm blocks, scoring."""

from __future__ import annotations

from functools import partial
from importlib import reload

import pytest
import timm
import torch
from mmengine.registry import init_default_scope
from timm.layers.patch_embed import resample_patch_embed

from mmsls.adapters import Adapter
from mmsls.backbones.timm.backbone import PrunedTimmBackbone
from mmsls.deploy.merging import merge_backbone

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
DINO = 'vit_small_patch14_reg4_dinov2'
TINY = {'depth': 4, 'num_heads': 2, 'embed_dim': 16, 'patch_size': 8}


def image(size=(64, 64)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def same(left, right, tolerance=0.0):
    return all((x - y).abs().max() <= tolerance for x, y in zip(left, right, strict=True))


@pytest.fixture
def dino(randomise):
    return randomise(timm.create_model(DINO, num_classes=5, img_size=64, **TINY)).eval()


@pytest.fixture
def base(dino, tmp_path):
    torch.save(dino.state_dict(), tmp_path / 'dino.pth')
    return str(tmp_path / 'dino.pth')


def ours(base=None, **arguments):
    return PrunedTimmBackbone(
        DINO, **{'img_size': 64, 'out_indices': (1, 3), 'model_args': TINY, 'base_checkpoint': base, **arguments}
    ).eval()


@pytest.mark.parametrize('norm', [False, True])
def test_a_base_of_timm_loads_without_its_head(dino, base, norm):
    model = ours(base, adapter=CONVPASS, final_norm=norm)
    with torch.no_grad():
        expected = dino.forward_intermediates(image(), indices=[1, 3], norm=norm, intermediates_only=True)
        assert same(model(image()), expected)
    assert not any(parameter.requires_grad for parameter in model.model.patch_embed.parameters())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name in trained if '.adapters.' in name}


def test_a_base_of_the_original_release_and_of_another_image_size_loads(dino, tmp_path):
    """Meta's DINOv2 files: registers by their name, a class token with a position, a mask token, no head."""
    state = {key: value for key, value in dino.state_dict().items() if not key.startswith('head')}
    state['register_tokens'] = state.pop('reg_token')
    state['pos_embed'] = torch.cat([torch.zeros(1, 1, 16), state['pos_embed']], dim=1)
    state['mask_token'] = torch.zeros(1, 16)
    torch.save(state, tmp_path / 'meta.pth')
    model = ours(str(tmp_path / 'meta.pth'))
    with torch.no_grad():
        expected = dino.forward_intermediates(image(), indices=[1, 3], intermediates_only=True)
        assert same(model(image()), expected)
    larger = ours(str(tmp_path / 'meta.pth'), img_size=96)
    assert larger.model.pos_embed.shape == (1, 144, 16)
    with torch.no_grad():
        assert larger(image((96, 96)))[0].shape == (1, 16, 12, 12)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'model_args': {**TINY, 'embed_dim': 24}}, 'does not fit this backbone: misshapen'),
        ({'model_name': 'vit_small_patch14_dinov2'}, 'Try: the model_name of the base'),
        ({'out_indices': (1, 4)}, 'out_indices must name blocks 0 to 3'),
        ({'kept_depths': 5}, 'kept_depths must hold one number per stage'),
    ],
)
def test_what_does_not_fit_is_refused(base, arguments, words):
    settings = {'model_name': DINO, 'img_size': 64, 'out_indices': (1, 3), 'model_args': TINY, **arguments}
    with pytest.raises(ValueError, match=words):
        PrunedTimmBackbone(base_checkpoint=base, **settings)


def test_a_base_without_registers_is_refused_where_the_model_has_some(randomise, tmp_path):
    plain = randomise(timm.create_model('vit_small_patch14_dinov2', num_classes=0, img_size=64, **TINY))
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(
        ValueError, match=r'those of vit_small_patch14_reg4_dinov2 .*with or without registers \(_reg4_\)'
    ):
        ours(str(tmp_path / 'plain.pth'))


def test_an_adapter_that_does_not_fit_is_refused_by_name(randomise, tmp_path):
    """SSF scales what norms put out, by the norms' weights: these have none."""
    args = {**TINY, 'norm_layer': partial(torch.nn.LayerNorm, elementwise_affine=False)}
    model = timm.create_model(DINO, num_classes=0, img_size=64, **args)
    torch.save(randomise(model).state_dict(), tmp_path / 'bare.pth')
    with pytest.raises(
        ValueError, match="SSF sits at the layer 'attn_norm', and the blocks of this backbone have none"
    ):
        ours(str(tmp_path / 'bare.pth'), model_args=args, adapter={'type': 'mmsls.SSF'})


@pytest.mark.parametrize(
    ('name', 'width'), [(DINO, 16), ('vit_small_patch16_dinov3', 24), ('eva02_base_patch14_224', 24)]
)
def test_a_base_of_another_patch_size_is_resampled_as_timm_does_it(name, width, randomise, tmp_path):
    args = {**TINY, 'embed_dim': width}
    base = randomise(timm.create_model(name, num_classes=0, img_size=64, **args)).state_dict()
    torch.save(base, tmp_path / 'base.pth')
    coarse = PrunedTimmBackbone(
        name, img_size=64, model_args={**args, 'patch_size': 16}, base_checkpoint=str(tmp_path / 'base.pth')
    )
    expected = resample_patch_embed(base['patch_embed.proj.weight'], (16, 16))
    assert torch.equal(coarse.model.patch_embed.proj.weight, expected)
    assert coarse(image())[0].shape == (1, width, 4, 4)


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_every_toolbox_builds_it_by_name(toolbox, base):
    from importlib import import_module

    init_default_scope(toolbox)
    cfg = {'type': 'mmsls.PrunedTimmBackbone', 'model_name': DINO, 'img_size': 64, 'model_args': TINY}
    model = import_module(f'{toolbox}.registry').MODELS.build({**cfg, 'base_checkpoint': base, 'kept_depths': 2})
    assert model.kept_depths == (2,)
    assert model(image())[0].shape == (1, 16, 8, 8)


def test_pruned_outputs_are_remapped_and_bridged(base, dino):
    cut, bridged = ours(base, kept_depths=2), ours(base, kept_depths=2, bridge=True)
    with torch.no_grad():
        block = dino.forward_intermediates(image(), indices=[1], intermediates_only=True)
        assert same(cut(image()), [block[0]] * 2)
        assert same(bridged(image()), [block[0]] * 2)
    assert [bridge.target for bridge in bridged.bridges().values()] == [(0, 3)]


def test_every_block_hands_out_its_tokens_without_registers(base):
    model, found = ours(base, adapter=CONVPASS), {}
    handles = model.record_blocks(found.__setitem__)
    with torch.no_grad():
        model(image((40, 64)))
    for handle in handles:
        handle.remove()
    assert list(found) == [(0, block) for block in range(4)]
    tokens = found[0, 3]
    assert (tokens.tokens.shape, tokens.extra_tokens.shape) == ((1, 40, 16), (1, 5, 16))
    assert (tokens.hw_shape, tokens.stride) == ((5, 8), 8)


OTHERS = {
    'post-norm': ('eva02_tiny_patch14_224', {'use_post_norm': True}),  # x + norm(op(x)): EVA-01 CLIP
    'beit': ('beit_base_patch16_224', {'init_values': 0.1}),
}


@pytest.mark.parametrize('block', OTHERS)
@pytest.mark.parametrize('kind', ['Convpass', 'RepAdapter', 'LoRA', 'SSF'])
def test_adapters_of_other_blocks_begin_as_the_identity_and_learn(block, kind, randomise, tmp_path):
    name, more = OTHERS[block]
    settings = {'model_name': name, 'img_size': 64, 'model_args': {**TINY, 'embed_dim': 24, **more}}
    plain = randomise(PrunedTimmBackbone(**settings)).eval()
    torch.save(plain.model.state_dict(), tmp_path / 'base.pth')
    adapter = {'type': f'mmsls.{kind}'}
    model = PrunedTimmBackbone(**settings, base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter).eval()
    assert any(isinstance(module, Adapter) for module in model.modules())
    with torch.no_grad():
        before = model(image())
        assert same(before, plain(image()))
    randomise(model, seed=1, only_trainable=True)
    with torch.no_grad():
        tuned = model(image())
        assert not same(tuned, before, 1e-3)
    if kind in ('LoRA', 'SSF') or (kind == 'RepAdapter' and block == 'beit'):
        merge_backbone(model)
        with torch.no_grad():
            assert same(model(image()), tuned, 1e-5)


def test_a_merge_that_nothing_can_take_is_refused(randomise, tmp_path):
    """RepAdapter's shift before q, k and v that have no bias of their own, in a block without a norm there."""
    args = {**TINY, 'embed_dim': 24, 'use_post_norm': True}
    settings = {'model_name': 'eva02_tiny_patch14_224', 'img_size': 64, 'model_args': args}
    torch.save(PrunedTimmBackbone(**settings).model.state_dict(), tmp_path / 'base.pth')
    model = PrunedTimmBackbone(
        **settings, base_checkpoint=str(tmp_path / 'base.pth'), adapter={'type': 'mmsls.RepAdapter'}
    )
    with pytest.raises(ValueError, match="neither the layer after 'attn_input' nor a norm before it has a bias"):
        merge_backbone(model)


def test_an_older_timm_is_refused_with_what_to_install(monkeypatch):
    import mmsls.backbones.timm as package

    monkeypatch.setattr(timm, '__version__', '0.6.13')
    with pytest.raises(ValueError, match=r'timm 0\.6\.13 is older than 1\.0\.22, which .* needs: pip install -U timm'):
        reload(package)
