from __future__ import annotations

from itertools import chain

import pytest
import torch

from mmsls.criteria.depgraph import depgraph, torch_pruning
from mmsls.criteria.narrowing import inner_layers, widths_of


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def package():
    return pytest.importorskip('torch_pruning', reason='needs the package torch-pruning')


def layers_of(model):
    return list(chain(*inner_layers(model.backbone)))


def find_rows(part, whole):
    """Return where the rows of a matrix are in a larger one."""
    return [next(i for i, row in enumerate(whole) if torch.allclose(row, wanted, atol=1e-6)) for wanted in part]


@pytest.mark.parametrize('family', ['vit', 'swin'])
@pytest.mark.parametrize('adapter', ['Convpass', 'RepAdapter'])
def test_it_prunes_to_a_size_and_the_widths_rebuild_the_model(package, build, evidence, adapter, family):
    model = build(adapter=adapter, family=family)
    before, target = size(model), round(size(model) * 0.7)
    old = widths_of(layers_of(model))
    with torch.no_grad():
        full = model(image())
    widths = depgraph(evidence(model), target)
    assert size(model) == pytest.approx(target, rel=0.05)
    assert len(widths) == 4
    assert all(head < heads and hidden < hiddens for (head, hidden), (heads, hiddens) in zip(widths, old, strict=True))
    again = build('mmsls.ComparisonClassifier', adapter=adapter, family=family, inner_widths=widths)
    assert size(again) == size(model) < before
    again.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(again(image()), model(image()))
        assert not torch.allclose(again(image()), full, atol=1e-3)


@pytest.mark.parametrize('family', ['vit', 'swin'])
def test_the_pruned_model_is_the_full_one_without_the_channels_that_went(package, build, evidence, family):
    """Scale of the attention included: it must not follow the width of the narrower heads."""
    model, full = build(family=family), build(family=family)
    depgraph(evidence(model), round(size(model) * 0.8))
    for part, whole in zip(layers_of(model), layers_of(full), strict=True):
        inner, width = part.attn.proj.in_features, whole.attn.proj.in_features
        keys = find_rows(part.attn.qkv.weight[inner : 2 * inner], whole.attn.qkv.weight[width : 2 * width])
        hidden = find_rows(part.ffn.layers[0][0].weight, whole.ffn.layers[0][0].weight)
        assert len(keys) < width
        assert len(hidden) < whole.ffn.layers[0][0].out_features
        gone = torch.tensor([row for row in range(3 * width) if row % width not in keys])
        with torch.no_grad():
            for parameter in whole.attn.qkv.parameters():
                parameter[gone] = 0
            for parameter in whole.ffn.layers[0][0].parameters():
                parameter[[row for row in range(len(parameter)) if row not in hidden]] = 0
    with torch.no_grad():
        assert torch.allclose(model(image()), full(image()), atol=1e-5)


@pytest.mark.parametrize('share', [1.1, 0.01])
def test_a_size_that_cannot_be_had_is_refused(package, build, evidence, share):
    model = build()
    with pytest.raises(ValueError, match='parameters cannot be had'):
        depgraph(evidence(model), round(size(model) * share))


def test_without_the_package_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ValueError, match='pip install torch-pruning'):
        torch_pruning()
