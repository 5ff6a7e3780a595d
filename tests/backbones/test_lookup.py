"""The one backbone of a model."""

from __future__ import annotations

import pytest
from torch import nn

from mmsls.backbones.lookup import find_backbone
from mmsls.integrations.mmdet import PrunedSwinTransformer


def swin():
    return PrunedSwinTransformer(
        embed_dims=8, depths=(1, 1), num_heads=(1, 1), window_size=4, strides=(4, 2), out_indices=(1,)
    )


def test_it_is_found_wherever_it_is():
    backbone = swin()
    assert find_backbone(nn.Sequential(nn.Linear(2, 2), nn.Sequential(backbone))) is backbone


@pytest.mark.parametrize('count', [0, 2])
def test_none_or_two_are_refused(count):
    with pytest.raises(ValueError, match=rf'exactly one mmsls backbone is needed, found {count} in Sequential'):
        find_backbone(nn.Sequential(*(swin() for _ in range(count))))
