"""Bases of plain ViT in every key style: the weights must compute what they did at home."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer as TimmViT

from mmsls.backbones.base_files import read_base
from mmsls.backbones.vit.keys import fit_position, vit_keys

HEADLESS = {'final_norm': True, 'norm_cfg': {'type': 'LN', 'eps': 1e-6}, 'out_indices': (0, 3)}


@pytest.fixture
def theirs(randomise):
    """timm's own tiny ViT, of TINY_VIT's sizes."""
    return randomise(
        TimmViT(
            img_size=64,
            patch_size=8,
            embed_dim=16,
            depth=4,
            num_heads=2,
            mlp_ratio=2,
            num_classes=5,
            dynamic_img_size=True,
        ).eval()
    )


@pytest.fixture
def save(tmp_path):
    def run(content, name='base.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return run


def mmpretrain_twin(theirs):
    from mmpretrain.models.backbones import VisionTransformer

    arch = {'embed_dims': 16, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 32}
    twin = VisionTransformer(arch=arch, img_size=64, patch_size=8, out_type='featmap')
    twin.load_state_dict({k: v for k, v in vit_keys(theirs.state_dict(), []).items() if 'head' not in k}, strict=True)
    return twin


def written(style, theirs, vit, folder, google_arrays):
    path = folder / f'{style}.pth'
    if style == 'timm':
        torch.save(theirs.state_dict(), path)
    elif style == 'deit':
        torch.save({'model': theirs.state_dict()}, path)
    elif style == 'google':
        path = path.with_suffix('.npz')
        np.savez(path, **google_arrays(theirs))
    elif style == 'mmpretrain':
        state = {f'backbone.{key}': value for key, value in mmpretrain_twin(theirs).state_dict().items()}
        torch.save({'state_dict': {**state, 'head.layers.head.weight': torch.zeros(5, 16)}}, path)
    else:
        first = vit.pruned(base_checkpoint=written('timm', theirs, vit, folder, google_arrays), **HEADLESS)
        state = {key: value for key, value in first.state_dict().items() if key != '_extra_state'}
        torch.save({'state_dict': {f'backbone.{key}': value for key, value in state.items()}}, path)
    return str(path)


@pytest.mark.parametrize('style', ['timm', 'deit', 'google', 'mmpretrain', 'mmseg'])
@pytest.mark.parametrize('size', [(64, 64), (64, 96)])
def test_foreign_weights_compute_what_they_did_at_home(mmseg_vit_host, theirs, tmp_path, google_arrays, style, size):
    base = written(style, theirs, mmseg_vit_host, tmp_path, google_arrays)
    ours = mmseg_vit_host.pruned(base_checkpoint=base, fused_attention=False, **HEADLESS).eval()
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    if size != (
        64,
        64,
    ):  # timm resizes with anti-aliasing, the hosts without; the host's own class is the reference there
        stock = mmseg_vit_host.stock(**HEADLESS)
        stock.load_state_dict({key: value for key, value in ours.state_dict().items() if key != '_extra_state'})
        stock.requires_grad_(False).eval()
        with torch.no_grad():
            assert all(torch.equal(a, b) for a, b in zip(ours(x), stock(x), strict=True))
        return
    first = []
    theirs.blocks[0].register_forward_hook(lambda _, __, out: first.append(out))
    with torch.no_grad():
        last = theirs.forward_features(x)
        for found, expected in zip(ours(x), (first[0], last), strict=True):
            torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected[:, 1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', ['vit_base_patch16_224', 'deit_tiny_patch16_224', 'vit_base_patch16_clip_224'])
def test_published_key_names_of_timm(name):
    """The zoo's real models, keys only: none is left over and none is missing in mmseg's class."""
    from mmseg.models.backbones import VisionTransformer

    with torch.device('meta'):
        zoo = timm.create_model(name)
    width, clip = zoo.embed_dim, 'clip' in name
    arguments = {'embed_dims': width, 'num_heads': zoo.blocks[0].attn.num_heads, 'final_norm': True, 'pre_norm': clip}
    own = VisionTransformer(patch_bias=not clip, **arguments).state_dict()
    found = {k: tuple(v.shape) for k, v in vit_keys(zoo.state_dict(), own).items() if not k.startswith('head.')}
    assert found == {key: tuple(value.shape) for key, value in own.items()}


def test_deit_tiny_loads_with_every_key_accounted_for(shared):
    from mmsls.integrations.mmseg import PrunedVisionTransformer

    path = shared / 'data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth'
    model = PrunedVisionTransformer(
        base_checkpoint=str(path),
        embed_dims=192,
        num_heads=3,
        patch_bias=True,
        final_norm=True,
        norm_cfg={'type': 'LN', 'eps': 1e-6},
    )
    theirs, ours = torch.load(path, weights_only=True)['model'], model.state_dict()
    assert model.base_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(theirs) - 2 == len(ours) - 1  # head.weight and head.bias there, the identity here
    used = set()
    for key, value in vit_keys(theirs, ours).items():
        if not key.startswith('head.'):
            assert torch.equal(ours[key], value), key
            used.add(key)
    assert used == set(ours) - {'_extra_state'}
    # A few by hand, so that the table does not vouch for itself.
    assert torch.equal(ours['layers.11.attn.attn.in_proj_weight'], theirs['blocks.11.attn.qkv.weight'])
    assert torch.equal(ours['layers.0.ffn.layers.1.bias'], theirs['blocks.0.mlp.fc2.bias'])
    assert torch.equal(ours['layers.3.ln2.weight'], theirs['blocks.3.norm2.weight'])
    assert torch.equal(ours['ln1.bias'], theirs['norm.bias'])
    assert torch.equal(ours['pos_embed'], theirs['pos_embed'])


# Position embedding.


@pytest.mark.parametrize('size', [(96, 48), 128])
def test_position_embedding_is_the_hosts_own_resizing(mmseg_vit_host, theirs, save, size):
    """mmseg resizes when it loads by init_cfg; the class token's entry stays."""
    ours = mmseg_vit_host.pruned(base_checkpoint=save(theirs.state_dict()), img_size=size, **HEADLESS)
    square = mmseg_vit_host.pruned(base_checkpoint=save(theirs.state_dict()), **HEADLESS).state_dict()
    del square['_extra_state']
    whole = {'type': 'Pretrained', 'checkpoint': save(square, 'whole.pth')}
    stock = mmseg_vit_host.stock(img_size=size, init_cfg=whole, **HEADLESS)
    stock.init_weights()
    assert torch.equal(ours.pos_embed, stock.pos_embed)
    assert torch.equal(ours.pos_embed[:, 0], theirs.pos_embed[:, 0])


def test_position_embedding_keeps_a_slope_and_its_axes():
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing='ij')
    value = torch.cat([torch.tensor([9.0]), (3 * rows + columns).flatten()]).view(1, 65, 1)
    wide = fit_position(value, 1, (12, 16), 'bicubic')
    assert wide[0, 0] == 9
    grid = wide[0, 1:].view(12, 16)
    assert (grid.diff(dim=0).mean() * 11 / (grid.diff(dim=1).mean() * 15)).item() == pytest.approx(3, rel=0.05)
    assert fit_position(value, 1, (8, 8), 'bicubic') is value
    assert fit_position(value, 0, (8, 8), 'bicubic').shape == (1, 64, 1)  # a model without a class token
    assert fit_position(value[:, :60], 1, (8, 8), 'bicubic').shape == (1, 60, 1)  # no square: load_base refuses it
    assert fit_position(value[:, 1:], 1, (4, 4), 'bicubic').shape == (1, 64, 1)  # a class token cannot be made up


def test_half_precision_position_embedding(mmseg_vit_host, theirs, save):
    state = {key: value.half() for key, value in theirs.state_dict().items()}
    model = mmseg_vit_host.pruned(base_checkpoint=save(state), img_size=96, **HEADLESS)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# Refusals and hints.


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'patch_bias': False}, r'left over patch_embed\.projection\.bias \(16,\).*patch_bias=True'),
        ({'qkv_bias': False}, r'left over layers\.0\.attn\.attn\.in_proj_bias.*qkv_bias=True'),
        ({'pre_norm': True}, r'missing ln_pre\.weight.*pre_norm=False'),
        ({'num_layers': 5}, r'missing layers\.4\.'),
        ({'num_layers': 3, 'out_indices': 2}, r'left over layers\.3\.'),
        ({'patch_size': 4}, r'misshapen patch_embed\.projection\.weight: \(16, 3, 8, 8\)'),
    ],
)
def test_a_base_that_does_not_fit_is_refused_with_a_hint(mmseg_vit_host, theirs, save, arguments, match):
    with pytest.raises(ValueError, match=match):
        mmseg_vit_host.pruned(**{'base_checkpoint': save(theirs.state_dict()), **HEADLESS, **arguments})


def test_a_base_without_final_norm_is_refused_where_the_model_has_one(mmseg_vit_host, theirs, save):
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith('norm.')}
    with pytest.raises(ValueError, match=r'missing ln1\.weight.*final_norm=False'):
        mmseg_vit_host.pruned(base_checkpoint=save(state), **HEADLESS)
    mmseg_vit_host.pruned(base_checkpoint=save(state), **{**HEADLESS, 'final_norm': False})


def test_a_final_norm_that_the_model_lacks_is_left_out(mmseg_vit_host, theirs, save):
    model = mmseg_vit_host.pruned(base_checkpoint=save(theirs.state_dict()), **{**HEADLESS, 'final_norm': False})
    assert not hasattr(model, 'ln1')


def test_a_distilled_deit_is_refused(mmseg_vit_host, theirs, save):
    state = {**theirs.state_dict(), 'dist_token': torch.zeros(1, 1, 16), 'pos_embed': torch.zeros(1, 66, 16)}
    with pytest.raises(ValueError, match=r'base_checkpoint.*distilled.*without distillation'):
        mmseg_vit_host.pruned(base_checkpoint=save(state), **HEADLESS)


def test_other_extras_are_refused(mmseg_vit_host, theirs, save):
    with pytest.raises(ValueError, match=r'left over reg_token'):
        mmseg_vit_host.pruned(
            base_checkpoint=save({**theirs.state_dict(), 'reg_token': torch.zeros(1, 4, 16)}), **HEADLESS
        )


# The .npz container.


def test_npz_has_its_files_hash(theirs, tmp_path, google_arrays):
    np.savez(tmp_path / 'base.npz', **google_arrays(theirs))
    state, sha256 = read_base(str(tmp_path / 'base.npz'))
    assert sha256 == hashlib.sha256((tmp_path / 'base.npz').read_bytes()).hexdigest()
    assert state['cls'].shape == (1, 1, 16)


def test_the_npz_of_these_tests_is_what_timm_reads(theirs, tmp_path, google_arrays):
    np.savez(tmp_path / 'base.npz', **google_arrays(theirs))
    twin = TimmViT(img_size=64, patch_size=8, embed_dim=16, depth=4, num_heads=2, mlp_ratio=2, num_classes=5)
    twin.load_pretrained(str(tmp_path / 'base.npz'))
    own = twin.state_dict()
    assert all(torch.equal(own[key], value) for key, value in theirs.state_dict().items())


def test_an_incomplete_npz_is_refused(mmseg_vit_host, theirs, tmp_path, google_arrays):
    arrays = google_arrays(theirs)
    del arrays['Transformer/encoderblock_2/MultiHeadDotProductAttention_1/key/kernel']
    np.savez(tmp_path / 'base.npz', **arrays)
    with pytest.raises(ValueError, match=r'missing layers\.2\.attn\.attn\.in_proj_weight'):
        mmseg_vit_host.pruned(base_checkpoint=str(tmp_path / 'base.npz'), **HEADLESS)


@pytest.mark.parametrize(
    'content', [b'', b'hello world', b'PK\x03\x04 cut', b'\x80\x02junk', b'\x93NUMPY\x01\x00v\x00{', 'cut', 'array']
)
def test_a_file_that_is_no_npz_is_refused(mmseg_vit_host, theirs, tmp_path, google_arrays, content):
    path = tmp_path / 'base.npz'
    np.savez(path, **google_arrays(theirs))
    if content == 'cut':
        content = path.read_bytes()[:-500]
    if content == 'array':
        with path.open('wb') as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'base_checkpoint: {re.escape(repr(str(path)))} does not load'):
        mmseg_vit_host.pruned(base_checkpoint=str(path), **HEADLESS)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def test_a_pickle_inside_an_npz_does_not_run(mmseg_vit_host, tmp_path):
    trap = tmp_path / 'ran'
    np.savez(tmp_path / 'base.npz', cls=np.array([Bomb(str(trap))], dtype=object))
    with pytest.raises(ValueError, match=r'allow_pickle=False'):
        mmseg_vit_host.pruned(base_checkpoint=str(tmp_path / 'base.npz'), **HEADLESS)
    assert not trap.exists()


def test_arrays_that_torch_does_not_know_are_refused(mmseg_vit_host, tmp_path):
    np.savez(tmp_path / 'base.npz', cls=np.array(['text']))
    with pytest.raises(ValueError, match=r'base\.npz.*does not load'):
        mmseg_vit_host.pruned(base_checkpoint=str(tmp_path / 'base.npz'), **HEADLESS)
