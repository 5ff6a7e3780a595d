"""Last layers that are found or refused by name."""

from __future__ import annotations

import pytest
from torch import nn

from mmsls.features.linear_heads import linear_head

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
    with pytest.raises(ValueError, match='refit: Conv2d: it has no linear fc_cls'):
        linear_head(Model(roi_head=Model(bbox_head=nn.Conv2d(2, 2, 1))))
    with pytest.raises(ValueError, match='refit: Model: its classes'):
        linear_head(Model())
    for layer, reason in ((nn.Conv2d(4, 3, 3), 'no conv_seg'), (nn.Conv2d(4, 3, 1, bias=False), 'no bias')):
        with pytest.raises(ValueError, match=reason):
            linear_head(Model(decode_head=Model(conv_seg=layer)))


def test_the_last_head_of_a_cascade_predicts():
    heads = nn.ModuleList(Model(conv_seg=nn.Conv2d(4, 3, 1)) for _ in range(2))
    assert linear_head(Model(decode_head=heads)).layer is heads[1].conv_seg
