"""How far features are from those to be met."""

from __future__ import annotations

import pytest
import torch

from mmsls.hooks.distillation import distance, unexplained


def test_the_distance_is_free_of_scale_and_told_by_the_variance():
    draw = torch.Generator().manual_seed(0)
    theirs = torch.randn(4, 8, 5, 5, generator=draw) + 2
    ours = theirs + torch.randn(4, 8, 5, 5, generator=draw)
    found = float(unexplained(ours, theirs))
    assert found == pytest.approx(float(unexplained(100 * ours, 100 * theirs)), rel=1e-4)
    assert float(unexplained(theirs.mean((0, 2, 3), keepdim=True).expand_as(theirs), theirs)) == pytest.approx(1)
    tokens = [x.flatten(2).transpose(1, 2) for x in (ours, theirs)]
    assert found == pytest.approx(float(unexplained(*tokens)), rel=1e-5)


def test_a_single_vector_and_a_dead_output_have_a_finite_distance():
    one = torch.full((1, 8), 3.0)
    assert float(unexplained(one + 0.3, one)) == pytest.approx(0.1, rel=1e-4)  # a tenth of the mean square
    assert torch.isfinite(unexplained(one, torch.zeros(1, 8)))
    assert float(unexplained(one.half() * 1e4, one.half() * 2e4)) == pytest.approx(2.5)


def test_outputs_of_other_shapes_are_refused():
    maps, vector = torch.ones(2, 8, 4, 4), torch.ones(2, 8)
    assert float(distance([[maps, vector]], [[maps, vector]], [0])) == 0
    for theirs in ([maps[:, :4]], [maps, maps], [[maps, vector]]):
        with pytest.raises(ValueError, match=r'teacher: its \d outputs have the shapes'):
            distance([maps], theirs, [0])
