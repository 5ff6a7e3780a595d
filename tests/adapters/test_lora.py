from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.adapters import normalise_adapter_cfg
from mmsls.adapters.lora import LoRA

ALL = ('q', 'k', 'v', 'proj', 'fc1', 'fc2')


def adapter_of(layer: nn.Linear, slot: str = 'attn_qkv', **arguments) -> LoRA:
    return LoRA(layer.in_features, slot=slot, weight=layer.weight, bias=layer.bias, **arguments)


@pytest.mark.parametrize('targets', [('q', 'v'), ('k',), ('v', 'q'), ('q', 'k', 'v')])
def test_is_the_published_formula_on_the_rows_of_the_targets(randomise, targets):
    layer = nn.Linear(6, 18)
    adapter = randomise(adapter_of(layer, rank=2, scale=0.3, targets=targets))
    x = torch.randn(5, 6)
    weight, bias = adapter.merged(layer.weight, layer.bias)
    found = nn.functional.linear(x, weight, bias).chunk(3, -1)
    updates = dict(
        zip([name for name in 'qkv' if name in targets], zip(adapter.down, adapter.up, strict=True), strict=True)
    )
    for name, before, after in zip('qkv', layer(x).chunk(3, -1), found, strict=True):
        if name in updates:
            down, up = updates[name]
            before = before + 0.3 * (x @ down.T) @ up.T
        torch.testing.assert_close(after, before)


def test_another_layer_is_updated_whole(randomise):
    layer = nn.Linear(6, 10)
    adapter = randomise(adapter_of(layer, slot='ffn_fc1', rank=2, targets=('q', 'fc1')))
    delta = adapter.adapted_weight(layer.weight) - layer.weight
    assert torch.linalg.matrix_rank(delta) == 2
    torch.testing.assert_close(delta, adapter.up[0] @ adapter.down[0])


def test_start_is_the_base_with_a_live_first_factor():
    layer = nn.Linear(6, 18)
    adapter = adapter_of(layer, rank=2)
    assert torch.equal(adapter.adapted_weight(layer.weight), layer.weight)
    assert adapter.down.abs().max() > 0


@pytest.mark.parametrize(
    ('targets', 'slots'),
    [
        (('q', 'v'), {'attn_qkv'}),
        (('fc2', 'k'), {'attn_qkv', 'ffn_fc2'}),
        (ALL, {'attn_qkv', 'attn_proj', 'ffn_fc1', 'ffn_fc2'}),
    ],
)
def test_targets_choose_the_layers(targets, slots):
    assert set(LoRA.slots_for(targets=targets)) == slots


@pytest.mark.parametrize('targets', [(), ('query',), ('q', 'q'), 'qv', 'q'])
def test_wrong_targets_are_refused_with_the_known_ones(targets):
    with pytest.raises(ValueError, match=r'adapter\.targets.*q, k, v, proj, fc1, fc2'):
        LoRA.slots_for(targets=targets)


def test_the_config_has_no_arguments_that_the_block_gives():
    assert normalise_adapter_cfg({'type': 'LoRA', 'targets': ('q',)}) == {
        'type': 'LoRA',
        'rank': 8,
        'scale': 1.0,
        'targets': ['q'],
    }
    with pytest.raises(ValueError, match=r'slot.*targets, stages, blocks'):
        normalise_adapter_cfg({'type': 'LoRA', 'slot': 'attn_qkv'})


def test_parameters_on_vit_b():
    """12 blocks of width 768, q and v at rank 8: 2 x 2 x 8 x 768 each, 0.29 M."""
    adapter = adapter_of(nn.Linear(768, 3 * 768))
    assert 12 * sum(p.numel() for p in adapter.parameters()) == 12 * 2 * 2 * 8 * 768 == 294_912


@pytest.mark.parametrize('fused', [True, False])
def test_every_target_works_and_merges_in_every_host(column, randomise, tmp_path, fused):
    from mmsls.deploy.merging import merge_backbone

    stock = randomise(column.stock())
    torch.save(column.base_of(stock), tmp_path / 'base.pth')
    adapter = {'type': 'mmsls.LoRA', 'rank': 2, 'targets': ALL}
    model = column.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter, fused_attention=fused)
    image = torch.randn(1, 3, *column.odd_size)
    with torch.no_grad():
        untuned = model.eval()(image)[-1]
        tuned = randomise(model, seed=1, only_trainable=True)(image)[-1]
        assert (tuned - untuned).abs().max() > 1e-3
        merge_backbone(model)
        assert (model(image)[-1] - tuned).abs().max() < 1e-5
        stock.eval()
        stock.load_state_dict(model.state_dict(), strict=True)
        assert (stock(image)[-1] - tuned).abs().max() < 1e-4
