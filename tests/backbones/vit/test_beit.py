"""BEiT of mmpretrain and mmseg, and mmseg's MAE: position tables, bases of other releases and sizes, refusals."""

from __future__ import annotations

import pytest
import timm
import torch

from mmsls.backbones.base_weights import POSITION_TABLE
from mmsls.backbones.timm.backbone import PrunedTimmBackbone
from mmsls.backbones.vit.beit import fit_table

TINY = {'embed_dim': 16, 'depth': 4, 'num_heads': 2, 'patch_size': 8, 'init_values': 0.1}
MAPS = {
    'mmpretrain-beit': {'out_type': 'featmap', 'arch': {**dict.fromkeys(('embed_dims', 'feedforward_channels'), 16)}},
    'mmseg-beit': {'norm_cfg': {'type': 'LN', 'eps': 1e-6}, 'mlp_ratio': 4, 'final_norm': False},
}
MAPS['mmpretrain-beit']['arch'] |= {'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 64}
KINDS = {
    'a table in every block': {},
    'one table for all blocks': {'use_rel_pos_bias': False, 'use_shared_rel_pos_bias': True, 'bias': True},
    'no table (EVA)': {'use_rel_pos_bias': False, 'use_abs_pos_emb': True, 'layer_scale_init_value': 0.0},
    'q, k, v without bias': {'bias': False, 'use_abs_pos_emb': True},
}


def image(size=(64, 64)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def gap(left, right):
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


def still(module):
    """Return a module in eval mode; the hosts' `eval` returns None."""
    module.eval()
    return module


def saved(state, folder):
    torch.save(state, folder / 'base.pth')
    return str(folder / 'base.pth')


@pytest.fixture
def theirs(randomise):
    """A BEiT of timm with random weights."""
    return randomise(timm.create_model('beit_base_patch16_224', num_classes=0, img_size=64, **TINY)).eval()


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_every_kind_of_position_gives_what_the_host_gives(kind, columns, randomise, tmp_path):
    host = columns['mmpretrain-beit']()
    stock = still(randomise(host.stock(**KINDS[kind])))
    base, adapter = saved(host.base_of(stock), tmp_path), {'type': 'mmsls.Convpass', 'blocks': [1, 2]}
    plain, fused = (
        host.pruned(base_checkpoint=base, adapter=adapter, fused_attention=on, **KINDS[kind]).eval()
        for on in (False, True)
    )
    assert gap(plain(image()), stock(image())) == 0
    assert gap(fused(image()), stock(image())) < 1e-5
    assert type(plain.layers[0].attn) is type(stock.layers[0].attn) is not type(fused.layers[0].attn)
    if kind == 'no table (EVA)':
        assert gap(plain(image((40, 72))), stock(image((40, 72)))) == 0
        return
    with pytest.raises(ValueError, match=r'img_size: .* made for 8x8 patches of 8 pixels, got an image of 5x9'):
        plain(image((40, 72)))


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('size', [(64, 64), (96, 96), (64, 96)])
@torch.no_grad()
def test_a_base_of_timm_gives_what_it_gives_through_timm(name, size, columns, theirs, tmp_path):
    """Keys of Microsoft's releases, and tables that are resized, also to images that are not square."""
    base = saved(theirs.state_dict(), tmp_path)
    timms = PrunedTimmBackbone(
        'beit_base_patch16_224', img_size=size, out_indices=(0, 1, 3), model_args=TINY, base_checkpoint=base
    ).eval()
    ours = columns[name]().pruned(base_checkpoint=base, img_size=size, **MAPS[name]).eval()
    assert gap(ours(image(size)), timms(image(size))) < 1e-5


@torch.no_grad()
def test_a_table_that_the_base_shares_is_handed_to_every_block(columns, theirs, tmp_path):
    """As BEiT's pre-training leaves it, with what it predicts tokens by."""
    state = theirs.state_dict()
    table = state[f'blocks.0.attn.{POSITION_TABLE}']
    state = {key: value for key, value in state.items() if 'relative_position' not in key}
    state |= {f'rel_pos_bias.{POSITION_TABLE}': table, 'mask_token': torch.zeros(1, 1, 16)}
    state |= {'lm_head.weight': torch.zeros(9, 16), 'lm_head.bias': torch.zeros(9)}
    model = columns['mmseg-beit']().pruned(base_checkpoint=saved(state, tmp_path), **MAPS['mmseg-beit'])
    assert all(torch.equal(layer.attn.relative_position_bias_table, table) for layer in model.layers)


def test_a_table_of_no_square_grid_stays_as_it_is():
    table = torch.zeros(15 * 23 + 3, 2)
    assert fit_table(table, (8, 8)) is table
    assert fit_table(torch.zeros(228, 2), (8, 12)).shape == table.shape


@pytest.mark.parametrize(
    ('name', 'change', 'words'),
    [
        ('mmseg-beit', {'embed_dims': 32}, 'misshapen'),
        ('mmseg-beit', {'patch_size': 16}, r'misshapen patch_embed\.projection\.weight: \(16, 3, 8, 8\) in the file'),
        ('mmseg-mae', {}, 'Try: use_abs_pos_emb=False .* or PrunedBEiT'),
        ('mmpretrain-beit', {'bias': True}, "Try: bias='qv_bias'"),
        ('mmpretrain-beit', {'layer_scale_init_value': 0.0}, 'Try: layer_scale_init_value above 0'),
        ('mmpretrain-beit', {'use_rel_pos_bias': False}, 'Try: use_rel_pos_bias=True'),
        ('mmpretrain-beit', {'use_abs_pos_emb': True}, 'Try: use_abs_pos_emb=False'),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(name, change, words, columns, theirs, tmp_path):
    with pytest.raises(ValueError, match=words):
        columns[name]().pruned(**{**MAPS.get(name, {}), **change}, base_checkpoint=saved(theirs.state_dict(), tmp_path))


@torch.no_grad()
def test_a_base_of_mae_loads_as_the_host_loads_it(columns, randomise, tmp_path):
    """It has neither tables nor layer scale: the host starts with zeros and `init_values`."""
    host = columns['mmseg-mae']()
    stock = randomise(host.stock())
    lacking = ('gamma_', 'relative_position')
    state = {key: value for key, value in stock.state_dict().items() if not any(part in key for part in lacking)}
    base = saved({**state, 'mask_token': torch.zeros(1, 1, 16), 'decoder_embed.weight': torch.zeros(8, 16)}, tmp_path)
    stock = still(host.stock(init_values=1.0))
    stock.load_state_dict(state, strict=False)
    exact = {'fused_attention': False, 'adapter': {'type': 'mmsls.LoRA'}}
    ours = host.pruned(base_checkpoint=base, init_values=1.0, **exact).eval()
    assert gap(ours(image()), stock(image())) == 0
    assert {key for key in ours.stored_keys() if '.adapters.' not in key} == {'_extra_state'}
    assert host.pruned(base_checkpoint=base, init_values=1.0, img_size=96)(image((96, 96)))[0].shape == (1, 16, 12, 12)
    with pytest.raises(ValueError, match=r'init_values is 0\.1, and the base has no layer scale'):
        host.pruned(base_checkpoint=base)
