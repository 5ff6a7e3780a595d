"""Last layers that are found or refused by name, and the classes of a map's cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmsls.features.image_frame import ImageFrame
from mmsls.features.linear_heads import balanced, given_to, labels_of_cells, linear_head

HEADS = {
    'LinearClsHead': {'num_classes': 5, 'in_channels': 8},
    'VisionTransformerClsHead': {'num_classes': 5, 'in_channels': 8, 'hidden_dim': 5},
    'DeiTClsHead': {'num_classes': 5, 'in_channels': 8},
    'MultiLabelLinearClsHead': {'num_classes': 5, 'in_channels': 8},
    'ArcFaceClsHead': {'num_classes': 5, 'in_channels': 8},
}


class Model(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def classifier(kind, **more):
    from mmpretrain.models import heads

    return Model(head=getattr(heads, kind)(**{**HEADS[kind], **more}))


def test_the_last_layer_of_a_classifier():
    model = classifier('LinearClsHead')
    assert linear_head(model).layer is model.head.fc
    model = classifier('VisionTransformerClsHead', hidden_dim=6)
    assert linear_head(model).layer is model.head.layers.head
    assert linear_head(model).name == 'VisionTransformerClsHead'


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('VisionTransformerClsHead', 'it has 2 linear layers of its 5 classes'),
        ('DeiTClsHead', 'it has 2 linear layers of its 5 classes'),
        ('MultiLabelLinearClsHead', 'an image may have several classes'),
        ('ArcFaceClsHead', 'its last layer has no bias'),
    ],
)
def test_heads_that_end_otherwise_are_refused_by_name(kind, reason):
    with pytest.raises(ValueError, match=f'refit: {kind}: {reason}') as error:
        linear_head(classifier(kind))
    assert '\n' not in str(error.value)


def test_models_without_such_a_head_are_refused_by_name():
    with pytest.raises(ValueError, match='refit: Linear: its classes are not read off'):
        linear_head(Model(bbox_head=nn.Linear(2, 2)))
    with pytest.raises(ValueError, match='refit: Conv2d: its classes'):
        linear_head(Model(roi_head=Model(bbox_head=nn.Conv2d(2, 2, 1))))
    with pytest.raises(ValueError, match='refit: Model: its classes'):
        linear_head(Model())
    for layer, reason in ((nn.Conv2d(4, 3, 3), 'no conv_seg'), (nn.Conv2d(4, 3, 1, bias=False), 'no bias')):
        with pytest.raises(ValueError, match=reason):
            linear_head(Model(decode_head=Model(conv_seg=layer)))


def test_the_last_head_of_a_cascade_predicts():
    heads = nn.ModuleList(Model(conv_seg=nn.Conv2d(4, 3, 1)) for _ in range(2))
    assert linear_head(Model(decode_head=heads)).layer is heads[1].conv_seg


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


def test_what_a_layer_is_given_is_recorded_meanwhile():
    layer = nn.Linear(2, 2)
    with given_to(layer) as found:
        layer(torch.ones(1, 2))
    layer(torch.zeros(1, 2))
    assert [x.tolist() for x in found] == [[[1, 1]]]
