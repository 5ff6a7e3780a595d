from __future__ import annotations

import pytest
import torch

from mmsls.backbones.merging import shift_before


def test_shift_before_undoes_the_layer():
    torch.manual_seed(0)
    weight, shift = torch.randn(12, 4), torch.randn(4)
    torch.testing.assert_close(shift_before(weight, weight @ shift).float(), shift)


def test_shift_that_the_layer_cannot_make_is_refused():
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match='cannot be merged'):
        shift_before(weight, torch.tensor([0.0, 1.0, 0.0]))
