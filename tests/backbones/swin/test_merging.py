from __future__ import annotations

import copy

import pytest
import torch
from mmdet.models.layers.transformer import PatchMerging
from torch import nn

from mmsls.backbones.swin.merging import PatchesByViews, speed_up


@pytest.mark.parametrize('size', [(4, 6), (5, 7), (3, 2)])
@pytest.mark.parametrize('patch', [(2, 2), (3, 2), 2])
def test_equals_unfold(size, patch):
    grid = torch.rand(2, 3, *size)
    assert torch.equal(PatchesByViews(patch, stride=patch)(grid), nn.Unfold(patch, stride=patch)(grid))


@pytest.mark.parametrize('hw_shape', [(4, 6), (5, 7), (1, 1)])
@pytest.mark.parametrize(
    ('arguments', 'faster'),
    [({}, True), ({'kernel_size': 3, 'stride': 3}, True), ({'kernel_size': 3, 'stride': 2}, False)],
)
def test_merging_with_it_equals_the_hosts(hw_shape, arguments, faster):
    host = PatchMerging(6, 12, **arguments)
    ours = copy.deepcopy(host)
    speed_up(ours)
    assert isinstance(ours.sampler, PatchesByViews) == faster
    assert list(ours.state_dict()) == list(host.state_dict())
    tokens = torch.rand(2, hw_shape[0] * hw_shape[1], 6)
    expected, found = host(tokens, hw_shape), ours(tokens, hw_shape)
    assert found[1] == expected[1]
    torch.testing.assert_close(found[0], expected[0])
