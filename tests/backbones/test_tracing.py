from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mmsls.backbones.tracing import looked_on


def test_what_is_looked_on_takes_views():
    tokens = torch.rand(1, 4, 3)
    assert not looked_on(tokens)
    assert looked_on(tokens.to('meta'))
    with FlopCounterMode(display=False):
        assert looked_on(tokens)
