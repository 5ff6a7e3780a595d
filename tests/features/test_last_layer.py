"""What every last layer shares."""

from __future__ import annotations

import torch
from torch import nn

from mmsls.features.last_layer import given_to


def test_what_a_layer_is_given_is_recorded_meanwhile():
    layer = nn.Linear(2, 2)
    with given_to(layer) as found:
        layer(torch.ones(1, 2))
    layer(torch.zeros(1, 2))
    assert [x.tolist() for x in found] == [[[1, 1]]]
