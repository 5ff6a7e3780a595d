from __future__ import annotations

import pytest
from torch import nn

from mmsls.adapters import BitFit, HeadOnly, NormTuning
from mmsls.adapters.selections import selected_parameters


def net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 2), nn.LayerNorm(2), nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    )


@pytest.mark.parametrize(
    ('cls', 'names'),
    [
        (BitFit, {'0.bias', '1.bias', '2.1.bias'}),
        (NormTuning, {'1.weight', '1.bias', '2.1.weight', '2.1.bias'}),
        (HeadOnly, set()),
    ],
)
def test_what_each_method_trains(cls, names):
    model = net()
    assert selected_parameters(cls, model, [model]) == names
    assert selected_parameters(cls, model, [model[2]]) == {name for name in names if name.startswith('2.')}


def test_bitfit_on_swin_takes_no_position_table(mmdet_host, base_file):
    model = mmdet_host.pruned(base_checkpoint=base_file, adapter={'type': 'BitFit'})
    assert not any('table' in name for name in model.selected)
    assert {'stages.0.blocks.0.attn.w_msa.qkv.bias', 'patch_embed.projection.bias'} <= model.selected


def test_bitfit_on_mmsegs_vit_finds_the_bias_of_q_k_and_v(mmseg_vit_host, randomise, tmp_path):
    import torch

    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock())), tmp_path / 'base.pth')
    model = mmseg_vit_host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter={'type': 'BitFit'})
    assert 'layers.0.attn.attn.in_proj_bias' in model.selected


@pytest.mark.parametrize('argument', ['rank', 'scale'])
def test_they_have_no_arguments(mmdet_host, base_file, argument):
    with pytest.raises(ValueError, match=argument):
        mmdet_host.pruned(base_checkpoint=base_file, adapter={'type': 'BitFit', argument: 1})
