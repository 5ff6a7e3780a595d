from __future__ import annotations

import numpy as np
import pytest

from mmsls.features.token_grid import box_weights, integral_image, mask_coverage, mask_weights


def test_box_weights_against_a_loop_over_tokens():
    rng = np.random.default_rng(0)
    (height, width), stride = (7, 9), 8
    for _ in range(100):
        x1, y1 = rng.uniform(0, 60), rng.uniform(0, 44)
        box = np.array([x1, y1, x1 + rng.uniform(9, 30), y1 + rng.uniform(9, 30)]).clip(0, [72, 56, 72, 56])
        wanted = np.zeros((height, width))
        for i in range(height):
            for j in range(width):
                cy, cx = (i + 0.5) * stride, (j + 0.5) * stride
                wanted[i, j] = box[0] <= cx < box[2] and box[1] <= cy < box[3]
        if wanted.any():
            (weights,) = box_weights(box[None], (height, width), stride)
            np.testing.assert_allclose(weights, wanted / wanted.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ('box', 'token'),
    [
        ([9, 1, 10, 2], (0, 1)),
        ([15, 15, 17, 15.5], (1, 1)),
        ([0, 0, 0, 0], (0, 0)),
        ([24, 16, 24, 16], (1, 2)),  # on the far corner of a 24 x 16 image: not the padding's token (2, 3)
        ([40, 40, 40, 40], (2, 3)),  # beyond the grid, where a patch embedding drops a remainder
    ],
)
def test_a_box_smaller_than_a_token_takes_the_nearest(box, token):
    (weights,) = box_weights(np.array([box], float), (3, 4), 8)
    assert weights[token] == 1
    assert weights.sum() == 1


def test_a_thin_box_takes_the_tokens_along_it():
    (weights,) = box_weights(np.array([[9.0, 0.0, 10.0, 24.0]]), (3, 4), 8)
    np.testing.assert_allclose(weights[:, 1], 1 / 3)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize('scale', [(1, 1), (2, 3), (4, 1)])
def test_mask_coverage_against_a_resized_mask(scale):
    mask = np.random.default_rng(0).random((13, 18)) > 0.4
    resized = np.kron(mask, np.ones((scale[1], scale[0])))
    stride, hw_shape = 8, (-(-resized.shape[0] // 8) + 1, -(-resized.shape[1] // 8))
    padded = np.zeros((hw_shape[0] * stride, hw_shape[1] * stride))
    padded[: resized.shape[0], : resized.shape[1]] = resized
    wanted = padded.reshape(hw_shape[0], stride, hw_shape[1], stride).mean((1, 3))
    np.testing.assert_allclose(mask_coverage(integral_image(mask), scale, hw_shape, stride), wanted, atol=1e-6)


def test_mask_coverage_at_a_fractional_scale():
    # Half of a pixel column falls into each of two tokens: edges at 0, 1.5 and 3 original pixels.
    mask = np.array([[0, 1, 0]] * 3)
    coverage = mask_coverage(integral_image(mask), (8 / 3, 8 / 3), (2, 2), 4)
    np.testing.assert_allclose(coverage, np.full((2, 2), 1 / 3), atol=1e-6)


def test_mask_coverage_of_a_crop_is_that_part_of_the_whole():
    mask = np.random.default_rng(0).integers(0, 2, (48, 64))
    mask[:, 18:] = 1
    integral = integral_image(mask)
    whole = mask_coverage(integral, (1.5, 1.5), (18, 24), 4)
    crop = mask_coverage(integral, (1.5, 1.5), (5, 6), 4, window=(8, 12, 30, 32))
    np.testing.assert_allclose(crop[:, :5], whole[3:8, 2:7])
    # Of the last column the crop shows only the left half, all of it in the mask.
    np.testing.assert_allclose(crop[:, 5], 0.5)
    np.testing.assert_allclose(whole[3:8, 7], 1)


def test_mask_weights_take_the_majority_or_else_the_most_covered():
    coverage = np.array([[0.9, 0.5], [0.6, 0.1]])
    np.testing.assert_allclose(mask_weights(coverage), [[0.5, 0], [0.5, 0]])
    np.testing.assert_allclose(mask_weights(coverage / 10), [[1, 0], [0, 0]])
