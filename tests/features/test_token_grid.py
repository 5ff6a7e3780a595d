from __future__ import annotations

import numpy as np
import pytest

from mmsls.features.token_grid import ImageFrame, box_weights, integral_image, mask_coverage, mask_weights

META = {'ori_shape': (48, 64), 'img_shape': (72, 96), 'scale_factor': (1.5, 1.5)}


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


def test_frame_moves_and_clips_boxes():
    frame = ImageFrame.from_metainfo(META)
    assert frame.extent == (72, 96)
    boxes = np.array([[-10, 2, 20, 30], [60, 40, 80, 90]], np.float32)
    np.testing.assert_allclose(frame.to_input(boxes), [[0, 3, 30, 45], [90, 60, 96, 72]])
    outside = np.array([[64, 0, 70, 9], [0, -9, 9, 0], [63, 47, 70, 60], [-9, 0, 0, 9], [0, 48, 9, 60], [np.nan] * 4])
    assert frame.overlaps(outside).tolist() == [False, False, True, False, False, False]


def test_frame_leaves_out_what_a_pad_transform_added():
    assert ImageFrame.from_metainfo({**META, 'img_shape': (96, 96)}).extent == (72, 96)


def test_frame_takes_a_scalar_or_no_scale():
    assert ImageFrame.from_metainfo({**META, 'scale_factor': 1.5}).scale == (1.5, 1.5)
    assert ImageFrame.from_metainfo({'ori_shape': (48, 64), 'img_shape': (48, 64)}).scale == (1, 1)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'scale_factor': None}, r"lacks \['scale_factor'\]"),
        ({'ori_shape': None}, r"lacks \['ori_shape'\]"),
        ({'flip': True}, 'RandomFlip'),
    ],
)
def test_unplaceable_images_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ImageFrame.from_metainfo({**META, **changes})


def test_a_mirrored_crop_shows_the_part_that_it_shows():
    """The input is columns 10 to 30 of the image, mirrored: original 40 is input 0."""
    frame = ImageFrame((-2.0, 2.0), (48, 64), (20, 40), (60.0, -8.0))
    assert frame.visible == (10, 4, 30, 14)
    assert frame.cropped
    np.testing.assert_allclose(frame.to_input(np.array([[12.0, 0, 20, 10]])), [[20, 0, 36, 12]])
    assert frame.overlaps(np.array([[0, 0, 10, 9], [0, 0, 11, 9], [30, 5, 31, 6], [12, 0, 20, 4]])).tolist() == [
        False,
        True,
        False,
        False,
    ]
    mask = np.zeros((48, 64))
    mask[4:9, 10:15] = 1  # bottom left in the original, bottom right corner... of what is seen: top right
    coverage = frame.coverage(integral_image(mask), (6, 11), 4)
    assert frame.visible_area(integral_image(mask)) == 25
    np.testing.assert_allclose(coverage.sum() * 16, 25 * 4)
    assert coverage[0, 9] == 1
    assert coverage[:, 10].sum() == 0  # padding of the batch, not the rest of the image
