"""The classes of a map's cells, and which of them are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mmsls.features.image_frame import ImageFrame
from mmsls.features.pixel_head import balanced, labels_of_cells


def test_cells_take_the_class_at_their_centre():
    truth = np.arange(48).reshape(6, 8)
    frame = ImageFrame((2.0, 2.0), (6, 8), (12, 16))
    assert (labels_of_cells(truth, frame, (6, 8), (0, 0, 16, 12)) == truth).all()
    assert (labels_of_cells(truth, frame, (3, 4), (0, 0, 8, 6)) == truth[:3, :4]).all()  # a crop
    padded = labels_of_cells(truth, frame, (8, 8), (0, 0, 16, 16))
    assert (padded[:6] == truth).all()
    assert (padded[6:] == -1).all()
    mirrored = ImageFrame((-2.0, 2.0), (6, 8), (12, 16), (16.0, 0.0))
    assert (labels_of_cells(truth, mirrored, (6, 8), (0, 0, 16, 12)) == truth[:, ::-1]).all()
    moved = ImageFrame((1.0, 1.0), (6, 8), (8, 9), (1.0, 2.0))
    assert (labels_of_cells(truth, moved, (8, 9), (0, 0, 9, 8))[2:, 1:] == truth).all()


def test_the_draw_is_balanced_bounded_and_says_nothing_of_what_is_no_class():
    labels = np.repeat([0, 1, 2, -1], [900, 90, 2, 1000])
    which, weights = balanced(labels, 30, np.random.default_rng(0))
    assert np.bincount(labels[which]).tolist() == [10, 10, 2]
    assert len(set(which.tolist())) == 22
    assert weights.sum() == pytest.approx(22)
    shares = np.bincount(labels[which], weights)
    assert shares / shares[2] == pytest.approx(np.sqrt([450, 45, 1]))
    assert [len(part) for part in balanced(np.full(3, -1), 30, np.random.default_rng(0))] == [0, 0]
