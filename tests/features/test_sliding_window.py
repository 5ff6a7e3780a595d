from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict

from mmsls.features.sliding_window import SlidingWindow, input_shape


def windows_of_mmseg(shape, crop_size, stride, monkeypatch) -> list:
    """Let MMSegmentation itself cut an input whose pixels hold their own position."""
    from mmseg.models import EncoderDecoder

    seen = []

    def encode_decode(self, crop, metas):
        (y1, x1), (y2, x2) = crop[0, :, 0, 0].tolist(), crop[0, :, -1, -1].tolist()
        seen.append((int(x1), int(y1), int(x2) + 1, int(y2) + 1))
        return crop[:, :1]

    monkeypatch.setattr(EncoderDecoder, 'encode_decode', encode_decode)
    model = EncoderDecoder.__new__(EncoderDecoder)
    torch.nn.Module.__init__(model)
    model.test_cfg, model.out_channels = ConfigDict(crop_size=crop_size, stride=stride), 1
    positions = torch.stack(torch.meshgrid(*(torch.arange(length) for length in shape), indexing='ij')).float()
    model.slide_inference(positions[None], [{}])
    return seen


@pytest.mark.parametrize(
    ('shape', 'crop_size', 'stride'),
    [
        ((40, 60), (40, 60), (20, 20)),
        ((40, 60), (64, 64), (32, 32)),
        ((40, 60), (16, 24), (16, 24)),
        ((40, 60), (16, 24), (10, 11)),
        ((41, 63), (32, 32), (21, 21)),
        ((33, 32), (32, 32), (32, 32)),
    ],
)
def test_windows_are_those_of_mmseg(shape, crop_size, stride, monkeypatch):
    wanted = windows_of_mmseg(shape, crop_size, stride, monkeypatch)
    assert SlidingWindow(crop_size, stride).windows(shape) == wanted


@pytest.mark.parametrize(('crop_size', 'stride'), [((0, 8), (4, 4)), ((8, 8), (4, 0))])
def test_settings_that_never_end_are_refused(crop_size, stride):
    with pytest.raises(ValueError, match='must be positive'):
        SlidingWindow(crop_size, stride)


@pytest.mark.parametrize(
    ('metainfo', 'wanted'),
    [
        ({'img_shape': (30, 40)}, (30, 40)),
        # A Pad transform leaves a pad_shape too, which a later Resize makes stale.
        ({'img_shape': (30, 40, 3), 'pad_shape': (64, 64)}, (30, 40)),
        ({'img_shape': (30, 40), 'pad_shape': torch.Size([32, 64]), 'img_padding_size': (0, 24, 0, 2)}, (32, 64)),
    ],
)
def test_input_shape_is_what_the_network_saw(metainfo, wanted):
    assert input_shape(metainfo) == wanted
