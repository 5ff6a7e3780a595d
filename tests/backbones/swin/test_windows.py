from __future__ import annotations

import pytest
import torch

from mmsls.backbones.swin.windows import cut, partition, put_back, shift_mask, unpartition, window_layout


def test_partition_round_trip():
    grid = torch.arange(2 * 8 * 12 * 3.0).view(2, 8, 12, 3)
    windows = partition(grid, 4)
    assert windows.shape == (12, 16, 3)
    assert torch.equal(windows[1].view(4, 4, 3), grid[0, :4, 4:8])
    assert torch.equal(unpartition(windows, grid.shape), grid)


def test_shift_mask_by_hand():
    """On a 4x4 grid with windows of 2 and shift 1 only what was adjacent before the shift may attend."""
    mask = shift_mask(4, 4, 2, 1, torch.device('cpu'), torch.float32)
    assert mask.shape == (4, 1, 4, 4)
    assert mask[0].abs().max() == 0
    right = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]) * -100.0
    assert torch.equal(mask[1, 0], right)
    assert torch.equal(mask[3, 0], (1 - torch.eye(4)) * -100.0)


SHAPES = [(1, 8, 12), (2, 5, 7), (3, 3, 2), (2, 1, 1), (2, 13, 4)]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize(('size', 'shift'), [(4, 0), (4, 2), (4, 1), (7, 3)])
def test_layout_gathers_what_views_cut(shape, size, shift):
    grid = torch.rand(*shape, 3) + 1
    layout = window_layout(shape, size, shift, grid.device, grid.dtype)
    windows = layout.cut(grid.view(-1, 3)).view(-1, size**2, 3)
    expected = cut(grid, size, shift)
    if layout.mixed:  # the windows that the shift mixed come last
        mask = shift_mask(
            shape[1] + -shape[1] % size, shape[2] + -shape[2] % size, size, shift, grid.device, grid.dtype
        )
        last = mask.flatten(1).any(1)
        last = (last | (2 * last.sum() > len(last))).repeat(shape[0])
        expected = torch.cat([expected[~last], expected[last]])
        assert torch.equal(layout.mask, mask.repeat(shape[0], 1, 1, 1)[last])
        assert layout.mixed == last.sum()
    assert torch.equal(windows, expected)
    assert torch.equal(layout.put_back(windows.flatten(0, 1)).view(grid.shape), grid)
    assert torch.equal(put_back(cut(grid, size, shift), shape, size, shift), grid)


def test_gradients_of_the_gathering():
    layout = window_layout((2, 5, 7), 4, 2, torch.device('cpu'), torch.float64)
    tokens = torch.rand(70, 2, dtype=torch.float64, requires_grad=True)
    places = torch.rand(len(layout.rows), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layout.cut, (tokens,))
    assert torch.autograd.gradcheck(layout.put_back, (places,))
    assert torch.autograd.gradgradcheck(layout.cut, (tokens,))


def test_only_mixed_windows_have_a_mask_of_their_own():
    """16 images of 56 x 56 tokens: 15 of 64 windows are mixed, and a mask for all would be four times as large."""
    layout = window_layout((16, 56, 56), 7, 3, torch.device('cpu'), torch.float32)
    assert (layout.mixed, len(layout.mask), len(layout.rows) // 49) == (16 * 15, 16 * 15, 16 * 64)


def test_layout_made_in_inference_mode_serves_training():
    window_layout.cache_clear()
    with torch.inference_mode():
        layout = window_layout((1, 8, 8), 4, 2, torch.device('cpu'), torch.float32)
    tokens = torch.rand(64, 3, requires_grad=True)
    layout.cut(tokens).sum().backward()
    assert torch.equal(tokens.grad, torch.ones(64, 3))
    assert not layout.mask.is_inference()
