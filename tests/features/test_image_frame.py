from __future__ import annotations

import numpy as np
import pytest

from mmsls.features.image_frame import ImageFrame
from mmsls.features.token_grid import integral_image

META = {'ori_shape': (48, 64), 'img_shape': (72, 96), 'scale_factor': (1.5, 1.5)}


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
