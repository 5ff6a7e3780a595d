from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from mmsls.backbones.adapted_layers import forget, is_adapted, see_through


class Doubling(nn.Module):
    """Doubles the weight by a trainable factor and adds one to the bias."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def adapted_weight(self, weight):
        return self.factor * weight

    def adapted_bias(self, bias):
        return None if bias is None else bias + 1


@pytest.mark.parametrize('bias', [True, False])
def test_the_layer_computes_with_what_it_sees_and_keeps_its_own(bias):
    layer = nn.Linear(3, 4, bias=bias).requires_grad_(False)
    keys, x = list(layer.state_dict()), torch.randn(2, 3)
    raw = {name: value.clone() for name, value in layer.state_dict().items()}
    expected = 2 * x @ layer.weight.T + (layer.bias + 1 if bias else 0)
    adapter = Doubling()
    see_through(layer, ('weight', 'bias'), adapter)
    torch.testing.assert_close(layer(x), expected)
    assert isinstance(layer, nn.Linear)
    assert list(layer.state_dict()) == keys
    assert [name for name, _ in layer.named_parameters()] == keys
    assert all(torch.equal(value, raw[name]) for name, value in layer.state_dict().items())
    layer(x).sum().backward()
    assert adapter.factor.grad is not None
    forget(layer)
    assert type(layer) is nn.Linear
    torch.testing.assert_close(layer(x), nn.functional.linear(x, raw['weight'], raw.get('bias')))
    forget(layer)


def test_multi_head_attention_sees_it_too():
    attention = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    x = torch.randn(1, 5, 4)
    twin = copy.deepcopy(attention)
    with torch.no_grad():
        twin.in_proj_weight.mul_(2)
        twin.in_proj_bias.add_(1)
        twin.out_proj.weight.mul_(2)
        twin.out_proj.bias.add_(1)
        see_through(attention, ('in_proj_weight', 'in_proj_bias'), Doubling())
        see_through(attention.out_proj, ('weight', 'bias'), Doubling())
        for need_weights in (True, False):
            found = attention(x, x, x, need_weights=need_weights)[0]
            torch.testing.assert_close(found, twin(x, x, x, need_weights=need_weights)[0])


def test_a_copy_sees_through_its_own_adapter():
    holder = nn.ModuleDict({'layer': nn.Linear(3, 4), 'adapter': Doubling()})
    see_through(holder['layer'], ('weight', 'bias'), holder['adapter'])
    twin = copy.deepcopy(holder)
    x = torch.randn(2, 3)
    assert torch.equal(twin['layer'](x), holder['layer'](x))
    twin['adapter'].factor.data.fill_(0)
    assert not torch.equal(twin['layer'](x), holder['layer'](x))
    assert is_adapted(twin['layer'])
    assert len(list(twin.parameters())) == 3


def test_loading_and_moving_reach_the_layers_own_tensors():
    layer = nn.Linear(3, 4)
    see_through(layer, ('weight', 'bias'), Doubling())
    other = nn.Linear(3, 4)
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer.weight, 2 * other.weight)
    assert layer.double().weight.dtype == torch.float64


def test_it_can_be_pickled():
    layer = nn.Linear(3, 4)
    see_through(layer, ('weight', 'bias'), Doubling())
    again = pickle.loads(pickle.dumps(layer))
    x = torch.randn(2, 3)
    torch.testing.assert_close(again(x), layer(x))
    assert is_adapted(again)
    forget(again)
    assert type(again) is nn.Linear
