"""Relatives of the hosts' ViT (DeiT III, EVA-02, MoCo v3, MAE, BEiT): their own outputs, adapted, cut, stored."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmsls.adapters import Adapter
from mmsls.checkpoint import slim
from mmsls.deploy.merging import merge_backbone, why_not_stock

NAMES = (
    *('mmpretrain-deit3', 'mmpretrain-eva02', 'mmpretrain-mocov3', 'mmpretrain-mae', 'mmpretrain-beit'),
    *('mmseg-beit', 'mmseg-mae'),
)
EXACT = {'fused_attention': False}  # the host's outputs, bit for bit
KINDS = ('Convpass', 'RepAdapter', 'LoRA', 'SSF')


def image(size=(64, 64)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def same(left, right, tolerance=0.0):
    return all((x - y).abs().max() <= tolerance for x, y in zip(left, right, strict=True))


@pytest.fixture(scope='module', params=NAMES)
def case(request, columns, randomise, tmp_path_factory):
    """A host's backbone with random weights, and the base that they make."""
    host = columns[request.param]()
    stock = randomise(host.stock()).requires_grad_(False)
    stock.eval()  # the hosts return None
    path = tmp_path_factory.mktemp('base') / 'base.pth'
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in host.base_of(stock).items()}}, path)
    return host, stock, str(path)


@torch.no_grad()
def test_without_a_base_it_is_the_hosts(case):
    host, stock, _ = case
    ours = host.pruned(**EXACT).eval()
    ours.load_state_dict(stock.state_dict())
    for size in host.sizes:
        assert same(ours(image(size)), stock(image(size)))


@pytest.mark.parametrize('kind', KINDS)
def test_adapters_begin_as_the_identity_learn_and_merge(case, kind, randomise):
    host, stock, base = case
    if (host.name, kind) == ('mmpretrain-deit3', 'SSF'):
        with pytest.raises(ValueError, match="SSF sits at the layer 'ffn_norm', and the blocks of this backbone"):
            host.pruned(base_checkpoint=base, adapter={'type': 'mmsls.SSF'})
        return
    model = host.pruned(**EXACT, base_checkpoint=base, adapter={'type': f'mmsls.{kind}'}).eval()
    assert any(isinstance(module, Adapter) for module in model.modules())
    with torch.no_grad():
        expected = stock(image())
        assert same(model(image()), expected)
        randomise(model, seed=1, only_trainable=True)
        tuned = model(image())
        assert not same(tuned, expected, 1e-3)
        if kind != 'Convpass':
            merge_backbone(model)
            assert same(model(image()), tuned, 1e-5)


def test_a_cut_one_gives_what_the_hosts_blocks_give(case):
    host, stock, base = case
    model, seen = host.pruned(**EXACT, base_checkpoint=base, kept_depths=2).eval(), []
    handle = stock.layers[1].register_forward_hook(lambda _, __, out: seen.append(out))
    recorded = {}
    handles = model.record_blocks(recorded.__setitem__)
    with torch.no_grad():
        model(image())
        stock(image())
    for each in (handle, *handles):
        each.remove()
    found = torch.cat([recorded[0, 1].extra_tokens, recorded[0, 1].tokens], 1)
    assert torch.equal(found, seen[0])


def test_what_is_stored_comes_back_after_images_of_another_size(case, randomise):
    """EVA-02 keeps the turns of the last image's positions in buffers."""
    host, _, base = case
    arguments = {'base_checkpoint': base, 'adapter': {'type': 'mmsls.Convpass', 'rank': 4}}
    model = randomise(host.pruned(**arguments), seed=1, only_trainable=True).eval()
    with torch.no_grad():
        model(image(host.sizes[1]))
        expected = model(image())
        model(image(host.sizes[1]))
    holder = torch.nn.Module()
    holder.backbone = model
    checkpoint = {'meta': {}, 'state_dict': dict(holder.state_dict())}
    slim(holder, checkpoint)
    stored = [key for key in checkpoint['state_dict'] if '.adapters.' not in key]
    assert stored == ['backbone._extra_state']
    holder.backbone = host.pruned(**arguments).eval()
    holder.load_state_dict(checkpoint['state_dict'])
    with torch.no_grad():
        assert same(holder.backbone(image()), expected)


@pytest.mark.parametrize('kind', ['BitFit', 'NormTuning'])
def test_everything_that_is_selected_gets_a_gradient(case, kind):
    host, _, base = case
    model = host.pruned(base_checkpoint=base, adapter={'type': f'mmsls.{kind}'})
    sum(out.square().mean() for out in model(image())).backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trained
    assert all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize('name', ['mmpretrain-eva02', 'mmpretrain-beit'])
def test_a_bridge_may_be_an_output_below_the_last_block(name, columns, randomise, tmp_path):
    """The hosts hand their blocks more than tokens, and so what stands behind the last output gets it too."""
    host = columns[name]()
    stock, base = randomise(host.stock()), str(tmp_path / 'base.pth')
    stock.eval()  # the hosts return None
    torch.save(host.base_of(stock), base)
    model = host.pruned(**EXACT, base_checkpoint=base, kept_depths=1, out_indices=(0, 2), bridge=True).eval()
    with torch.no_grad():
        assert same(model(image()), [stock(image())[0]] * 2)


def test_mae_masks_nothing(columns, tmp_path):
    host = columns['mmpretrain-mae']()
    torch.save(host.stock().state_dict(), tmp_path / 'base.pth')
    model = host.pruned(base_checkpoint=str(tmp_path / 'base.pth')).eval()
    assert [out.shape for out in model(image())] == [(2, 65, 16)] * 3
    with pytest.raises(ValueError, match='mask is True, and a frozen base is not pre-trained'):
        model(image(), mask=True)
    assert 'PrunedVisionTransformer' in why_not_stock(model, Config({'model': {}}))


def test_moco_v3_drops_what_freezes_the_host(columns, tmp_path):
    host = columns['mmpretrain-mocov3']()
    torch.save(host.stock().state_dict(), tmp_path / 'base.pth')
    adapter = {'type': 'mmsls.Convpass', 'rank': 4}
    model = host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter, frozen_stages=4, norm_eval=True)
    assert model.train() is model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all('.adapters.' in name for name in trained)


def test_a_whole_checkpoint_of_eva02_fits_after_images_of_another_size(columns):
    """The host keeps the turns of positions of the last image as buffers, and refuses to load those of another size."""
    host = columns['mmpretrain-eva02']()
    model, stock = host.pruned().eval(), host.stock()
    with torch.no_grad():
        before = model(image())
        model(image((96, 64)))
        state = model.state_dict()
        stock.load_state_dict(state, strict=True)
        twin = host.pruned().eval()
        twin(image((96, 64)))
        twin.load_state_dict({**state, 'rope.freqs_cos': torch.zeros(3, 2)}, strict=True)
        assert same(twin(image()), before)
