from __future__ import annotations

import pytest
import torch

from mmsls.criteria.depgraph import depgraph, shrink, torch_pruning, vit_layers


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def package():
    return pytest.importorskip('torch_pruning', reason='needs the package torch-pruning')


@pytest.mark.parametrize('adapter', ['Convpass', 'RepAdapter'])
def test_it_prunes_to_a_size_and_the_widths_rebuild_the_model(package, build, evidence, adapter):
    model = build(adapter=adapter)
    before, target = size(model), round(size(model) * 0.7)
    with torch.no_grad():
        full = model(image())
    widths = depgraph(evidence(model), target)
    assert size(model) == pytest.approx(target, rel=0.05)
    assert len(widths) == 4
    assert all(head < 16 and hidden < 64 for head, hidden in widths)
    again = build('ComparisonClassifier', adapter=adapter, inner_widths=widths)
    assert size(again) == size(model) < before
    again.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(again(image()), model(image()))
        assert not torch.allclose(again(image()), full, atol=1e-3)


def test_what_is_left_of_the_base_is_stored_but_not_trained(package, build):
    model = build('ComparisonClassifier', inner_widths=[[8, 32]] * 4)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all('.adapters.' in name or name.startswith('head.') for name in trained)
    assert model.backbone.base_sha256 is None


def test_queries_make_up_for_the_hosts_scale(package, build, evidence):
    """With the values that pruning removed set to zero, the full model computes what the pruned one does, up to the removed values."""
    model = build()
    attn = model.backbone.layers[0].attn
    weight, bias = attn.qkv.weight.clone(), attn.qkv.bias.clone()
    depgraph(evidence(model), round(size(model) * 0.8))
    kept = model.backbone.layers[0].attn
    scale = (kept.head_dims / 16) ** 0.5
    queries = kept.qkv.weight[: kept.embed_dims] / scale
    rows = [next(i for i in range(32) if torch.allclose(weight[i], row, atol=1e-6)) for row in queries]
    assert torch.allclose(kept.qkv.bias[: kept.embed_dims] / scale, bias[rows], atol=1e-6)
    keys = kept.qkv.weight[kept.embed_dims : 2 * kept.embed_dims]
    assert torch.equal(keys, weight[[32 + row for row in rows]])


@pytest.mark.parametrize('share', [1.1, 0.01])
def test_a_size_that_cannot_be_had_is_refused(package, build, evidence, share):
    model = build()
    with pytest.raises(ValueError, match='parameters cannot be had'):
        depgraph(evidence(model), round(size(model) * share))


def test_another_backbone_is_refused():
    from mmpretrain.models.backbones import SwinTransformer

    swin = SwinTransformer({'embed_dims': 8, 'depths': (1, 1), 'num_heads': (1, 1)}, out_indices=(1,))
    with pytest.raises(
        ValueError, match=r"'depgraph' is built for mmpretrain's VisionTransformer, not for SwinTransformer"
    ):
        vit_layers(swin)


def test_widths_for_other_blocks_are_refused(build):
    with pytest.raises(ValueError, match='inner_widths: 1 pairs for 4 blocks'):
        shrink(build().backbone, [(8, 8)])


def test_without_the_package_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ValueError, match='pip install torch-pruning'):
        torch_pruning()
