"""timm's Vision Transformers as backbones: what timm itself gives, any image size, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch

from mmsls.backbones.timm.host import TimmViT

# Every kind of block, tiny: name, width, further arguments.
KINDS = {
    'plain': ('vit_tiny_patch16_224', 16, {}),
    'dinov2 with registers': ('vit_small_patch14_reg4_dinov2', 16, {'init_values': 0.1}),
    'clip': ('vit_base_patch32_clip_224', 16, {}),
    'siglip': ('vit_base_patch16_siglip_224', 16, {}),
    'deit3': ('deit3_small_patch16_224', 16, {'init_values': 0.1}),
    'distilled deit': ('deit_tiny_distilled_patch16_224', 16, {}),
    'dinov3': ('vit_small_patch16_dinov3', 24, {'init_values': 0.1}),
    'eva02': ('eva02_tiny_patch14_224', 24, {}),
    'eva02, gated and unfused': ('eva02_base_patch14_224', 24, {}),
    'beit': ('beit_base_patch16_224', 16, {'init_values': 0.1}),
    'post-norm': ('eva02_tiny_patch14_224', 24, {'use_post_norm': True}),
}
TINY = {'depth': 3, 'num_heads': 2}


def built(kind, **arguments):
    name, width, more = KINDS[kind]
    return TimmViT(name, img_size=64, model_args={**TINY, 'embed_dim': width, 'patch_size': 8, **more}, **arguments)


@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_outputs_are_timms(kind, norm, randomise):
    name, width, more = KINDS[kind]
    args = {**TINY, 'embed_dim': width, 'patch_size': 8, 'img_size': 64, 'num_classes': 0, **more}
    theirs = randomise(timm.create_model(name, **args)).eval()
    if norm and isinstance(theirs.norm, torch.nn.Identity):
        with pytest.raises(ValueError, match='has no norm before its pooling'):
            built(kind, final_norm=True)
        return
    ours = built(kind, out_indices=(0, 2), final_norm=norm).eval()
    state = {key: value for key, value in theirs.state_dict().items() if key in ours.model.state_dict()}
    ours.model.load_state_dict(state, strict=True)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.forward_intermediates(image, indices=[0, 2], norm=norm, intermediates_only=True)
        found = ours(image)
    assert [tuple(out.shape) for out in found] == [(2, width, 8, 8)] * 2
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_images_of_any_size_are_padded_to_whole_patches():
    model = built('dinov3', out_indices=(0, -1)).eval()
    with torch.no_grad():
        image = torch.randn(1, 3, 61, 83)
        padded = torch.zeros(1, 3, 64, 88)
        padded[:, :, :61, :83] = image
        found, expected = model(image), model(padded)
    assert [tuple(out.shape) for out in found] == [(1, 24, 8, 11)] * 2
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_one_that_takes_one_size_says_so():
    model = built('beit')
    assert model(torch.zeros(1, 3, 60, 64))[0].shape == (1, 16, 8, 8)
    with pytest.raises(ValueError, match='takes images of 64x64 only, got 96x64: set img_size'):
        model(torch.zeros(1, 3, 96, 64))


def test_a_class_token_comes_out_where_there_is_one():
    assert built('dinov2 with registers', out_type='cls_token')(torch.zeros(2, 3, 64, 64))[0].shape == (2, 16)
    with pytest.raises(ValueError, match='has no class token'):
        built('siglip', out_type='cls_token')


def test_recomputing_gives_the_same_gradients():
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = built('dinov3', with_cp=with_cp)
        model(torch.ones(1, 3, 64, 64))[0].square().mean().backward()
        grads.append(model.model.patch_embed.proj.weight.grad)
    assert torch.allclose(*grads)
    assert grads[0].any()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'model_name': 'vit_smal_patch14_dinov2'}, 'has no model .*near it are vit_small_patch14_dinov2'),
        ({'model_name': 'zzz'}, 'has no model'),
        ({'model_name': 'resnet18'}, r'resnet18 \(ResNet\) lacks blocks in one list'),
        ({'model_name': 'convnext_tiny'}, 'its blocks are ConvNeXtBlock; known are'),
        ({'model_name': 'swinv2_cr_tiny_224'}, 'its blocks are SwinTransformerV2CrBlock; known are .*V2Block'),
        ({'model_name': 'vit_base_patch16_xp_224'}, 'its blocks are ParallelScalingBlock; known are'),
        ({'model_name': 'vit_small_patch16_rope_mixed_224'}, 'differ by block'),
        ({'model_name': 'vit_tiny_patch16_224', 'model_args': {'depht': 3}}, "model_args: .*'depht'"),
        ({'model_name': 'vit_tiny_patch16_224', 'out_type': 'raw'}, "out_type is 'raw'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, words):
    with pytest.raises(ValueError, match=words):
        TimmViT(**arguments)


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_is_there_that_no_output_reads(kind):
    model = built(kind, out_indices=(0, 2))
    sum(out.square().mean() for out in model(torch.randn(1, 3, 64, 64))).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize('name', ['pretrained', 'checkpoint_path', 'pretrained_cfg', 'num_classes', 'img_size'])
def test_no_argument_loads_a_file_or_changes_what_comes_out(name, tmp_path):
    """A config may be anybody's: weights come from base_checkpoint alone, which runs no code."""
    with pytest.raises(ValueError, match=f'model_args.{name} is .*; leave it out'):
        TimmViT('vit_tiny_patch16_224', model_args={name: str(tmp_path / 'evil.pth')})
