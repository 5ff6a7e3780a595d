from __future__ import annotations

import copy
import pickle

import pytest
import torch

from mmsls.backbones.base_record import BaseRecord, checksum

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
WEIGHT = 'stages.1.blocks.0.ffn.layers.1.weight'


@pytest.fixture
def model(mmdet_host, base_file):
    return mmdet_host.pruned(base_checkpoint=base_file, adapter=CONVPASS)


def changed(model):
    return set(model.stored_keys()) - set(model.trained_keys())


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize('shape', [(), (1,), (7,), (3, 5), (0, 4)])
def test_a_checksum_is_of_values_and_their_places(dtype, shape):
    generator = torch.Generator().manual_seed(0)
    tensor = (torch.rand(shape, generator=generator) * 9).to(dtype)
    assert checksum(tensor) == checksum(tensor.clone())
    assert checksum(tensor) == checksum(torch.stack([tensor, tensor], -1)[..., 0])  # not contiguous
    for position in range(tensor.numel()):
        other = tensor.clone().reshape(-1)
        other[position] = ~other[position] if dtype is torch.bool else other[position] + 1
        assert checksum(other) != checksum(tensor)


def test_a_checksum_feels_swapped_values_and_not_the_sign_of_zero():
    tensor = torch.randn(64)
    assert checksum(tensor[torch.randperm(64)]) != checksum(tensor)
    assert checksum(torch.tensor([-0.0, 1.0])) == checksum(torch.tensor([0.0, 1.0]))


def test_a_record_holds_what_it_was_told():
    record = BaseRecord()
    record.note('a', torch.ones(2, 2))
    assert 'a' in record
    assert list(record) == ['a']
    assert record.matches('a', torch.ones(2, 2))
    assert not record.matches('a', torch.ones(4))
    assert not record.matches('a', torch.ones(2, 2).half())
    assert not record.matches('b', torch.ones(2, 2))


def test_a_new_backbone_is_its_base(model):
    assert changed(model) == set()


@pytest.mark.parametrize('how', ['data', 'in place', 'assigned', 'buffer', 'unfrozen for a while'])
def test_a_change_is_seen_however_it_was_made(model, how):
    layer = model.stages[1].blocks[0].ffn.layers[1]
    key = WEIGHT
    if how == 'data':
        layer.weight.data[0, 0] += 1
    elif how == 'in place':
        with torch.no_grad():
            layer.weight.mul_(2)
    elif how == 'assigned':
        layer.weight = torch.nn.Parameter(layer.weight + 1, requires_grad=False)
    elif how == 'buffer':
        key = 'stages.0.blocks.0.attn.w_msa.relative_position_index'
        model.get_buffer(key)[0, 0] += 1
    else:
        layer.weight.requires_grad_(True)
        layer.weight.square().sum().backward()
        torch.optim.SGD([layer.weight], 0.1).step()
        layer.weight.requires_grad_(False)
    assert changed(model) == {key}
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert changed(twin) == {key}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_is_no_change(model, dtype):
    model.to(dtype)
    assert changed(model) == set()
    model.get_parameter(WEIGHT).data.mul_(2)
    assert changed(model) == {WEIGHT}


def test_a_cast_that_cannot_be_compared_counts_as_changed(model, tmp_path, said):
    model.base_checkpoint = str(tmp_path / 'gone.pth')
    assert WEIGHT in changed(model.half())
    assert 'gone.pth' in ''.join(said)


def test_an_average_of_equal_tensors_is_no_change(model):
    from mmengine.model import ExponentialMovingAverage, StochasticWeightAverage

    model.get_parameter(WEIGHT).data[0, 0] = -0.0
    model.base_record.note(WEIGHT, model.get_parameter(WEIGHT))
    for averaged in (ExponentialMovingAverage(model, momentum=0.3), StochasticWeightAverage(model)):
        for _ in range(3):
            averaged.update_parameters(model)
        assert changed(averaged.module) == set()
