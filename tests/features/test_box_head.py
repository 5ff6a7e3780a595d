"""The class layer of a two-stage detector: what it is given, labelled as in training, drawn as in training."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmsls import runs
from mmsls.features.box_head import BoxHead, Regions
from mmsls.features.data_view import DataView
from mmsls.features.linear_heads import linear_head
from mmsls.features.records import PassRecords
from mmsls.features.trial import training_images

BACKGROUND = 10
RPN = {'nms_pre': 200, 'max_per_img': 40, 'nms': {'type': 'nms', 'iou_threshold': 0.7}, 'min_bbox_size': 0}
ASSIGNER = {'type': 'MaxIoUAssigner', 'pos_iou_thr': 0.5, 'neg_iou_thr': 0.5, 'min_pos_iou': 0.5}
RPN_HEAD = {
    'type': 'RPNHead',
    'in_channels': 8,
    'feat_channels': 8,
    'anchor_generator': {'type': 'AnchorGenerator', 'scales': [4], 'ratios': [1.0], 'strides': [4, 8, 16, 32]},
    'bbox_coder': {'type': 'DeltaXYWHBBoxCoder'},
    'loss_cls': {'type': 'CrossEntropyLoss', 'use_sigmoid': True},
}
ROI_HEAD = {
    'type': 'StandardRoIHead',
    'bbox_roi_extractor': {
        'type': 'SingleRoIExtractor',
        'roi_layer': {'type': 'RoIAlign', 'output_size': 3, 'sampling_ratio': 0},
        'out_channels': 8,
        'featmap_strides': [4, 8, 16],
    },
    'bbox_head': {
        'type': 'Shared2FCBBoxHead',
        'in_channels': 8,
        'fc_out_channels': 16,
        'roi_feat_size': 3,
        'num_classes': BACKGROUND,
        'bbox_coder': {'type': 'DeltaXYWHBBoxCoder'},
        'loss_cls': {'type': 'CrossEntropyLoss'},
    },
}
SAMPLER = {'type': 'RandomSampler', 'num': 16, 'pos_fraction': 0.25, 'add_gt_as_proposals': True}


@pytest.fixture(scope='module')
def cfg(tmp_path_factory, detector_cfg):
    """Config of a tiny Faster R-CNN on digit scenes."""
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    import mmsls.integrations.mmdet  # noqa: F401

    cfg = detector_cfg(tmp_path_factory.mktemp('faster'))
    one = {key: cfg.model[key] for key in ('data_preprocessor', 'backbone', 'neck')}
    rpn = {'assigner': {**ASSIGNER, 'neg_iou_thr': 0.3}, 'sampler': SAMPLER, 'allowed_border': -1, 'pos_weight': -1}
    rcnn = {'assigner': ASSIGNER, 'sampler': SAMPLER, 'pos_weight': -1, 'debug': False}
    found = {'score_thr': 0.0, 'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 10}
    cfg.model = Config(
        {
            **{'type': 'FasterRCNN', **one, 'rpn_head': RPN_HEAD, 'roi_head': ROI_HEAD},
            'train_cfg': {'rpn': rpn, 'rpn_proposal': RPN, 'rcnn': rcnn},
            'test_cfg': {'rpn': RPN, 'rcnn': found},
        }
    )._cfg_dict
    return cfg


@pytest.fixture(scope='module')
def model(cfg):
    return runs.build_model(cfg)


def first_image(cfg, model):
    """One training image: its sample with the truth, its record, the data set, and its boxes in the input."""
    loader = training_images(cfg, 2)
    batch = next(iter(loader))
    with torch.no_grad():
        sample = model.test_step(deepcopy(batch))[0]
    record, view = PassRecords(loader).of_batch(0, 1)[0], DataView(loader.dataset)
    boxes = torch.from_numpy(view.frame(sample.metainfo, record).to_input(sample.gt_instances.bboxes.numpy())).float()
    assert not torch.allclose(boxes, sample.gt_instances.bboxes)  # the image was resized
    return sample, record, view, boxes


def test_proposals_are_labelled_where_they_lie_and_objects_are_a_quarter(cfg, model):
    sample, record, view, boxes = first_image(cfg, model)
    truth = sample.gt_instances.labels
    far = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(40, 1)
    places = torch.cat([boxes, far])
    rois = torch.cat([torch.zeros(len(places), 1), places], dim=1)
    features = torch.nn.functional.pad(torch.cat([truth, torch.full((40,), BACKGROUND)])[:, None].float(), (0, 15))
    head = BoxHead(model.roi_head, share=200)
    found = head.samples([Regions(features, rois)], [sample], [record], view)
    assert (found.features[:, 0] == found.labels).all()
    assert len(found.labels) == SAMPLER['num']
    assert (found.labels != BACKGROUND).sum() == min(4, len(truth))
    assert (found.images == 0).all()
    few = BoxHead(model.roi_head, share=8).samples([Regions(features, rois)], [sample], [record], view)
    assert len(few.labels) == 8


def test_what_neither_class_claims_in_training_is_no_sample(cfg, model):
    sample, record, view, boxes = first_image(cfg, model)
    sample = deepcopy(sample)
    sample.ignored_instances = sample.gt_instances[:1]
    sample.gt_instances = sample.gt_instances[1:]
    other = deepcopy(model.roi_head)
    other.bbox_assigner.ignore_iof_thr = 0.5
    rois = torch.cat([torch.zeros(1, 1), boxes[:1]], dim=1)
    assert not len(BoxHead(other).samples([Regions(torch.zeros(1, 16), rois)], [sample], [record], view).labels)


def test_a_new_layer_does_better_on_images_that_were_left_out(cfg, model):
    model = deepcopy(model)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight)
    fitted = runs.fit_head(model, training_images(cfg, 8))
    assert (fitted.name, fitted.better) == ('Shared2FCBBoxHead', True)
    assert 8 <= fitted.samples <= 8 * SAMPLER['num']
    assert fitted.after.accuracy > fitted.before.accuracy
    runs.check_refits(cfg)


def test_heads_of_another_form_are_refused_by_name(model):
    def refused(match, **parts):
        roi_head = deepcopy(model.roi_head)
        for name, part in parts.items():
            setattr(roi_head, name, part)
        with pytest.raises(ValueError, match=match):
            BoxHead(roi_head)

    refused('StandardRoIHead: it has 2 box heads', bbox_head=torch.nn.ModuleList([torch.nn.Linear(2, 2)] * 2))
    refused('StandardRoIHead: it has no train_cfg', bbox_assigner=None)
    head = deepcopy(model.roi_head.bbox_head)
    head.loss_cls.use_sigmoid = True
    refused('Shared2FCBBoxHead: a box may have several classes', bbox_head=head)
    head = deepcopy(model.roi_head.bbox_head)
    head.fc_cls = torch.nn.Linear(16, BACKGROUND)
    refused('Shared2FCBBoxHead: it has no linear fc_cls', bbox_head=head)
    assert linear_head(model).layer is model.roi_head.bbox_head.fc_cls


def test_what_a_mask_head_asks_for_is_not_taken_for_the_boxes(model):
    head, maps = BoxHead(model.roi_head), [torch.zeros(1, 8, 16 // 2**level, 24 // 2**level) for level in range(3)]
    boxes, others = torch.tensor([[0.0, 1, 1, 9, 9]]), torch.tensor([[0.0, 2, 2, 5, 5]])
    with torch.no_grad(), head.watching() as found:
        for rois in (boxes, boxes + 1):
            model.roi_head._bbox_forward(maps, rois)
            model.roi_head.bbox_roi_extractor(maps, others)
    assert [given.rois.tolist() for given in found] == [boxes.tolist(), (boxes + 1).tolist()]


def test_drawing_is_the_same_for_one_seed(model):
    labels = np.array([0, 1, 2, 3, 4, 5] + [BACKGROUND] * 30 + [-1] * 5)
    draws = [BoxHead(model.roi_head, seed=1)._draw(labels).tolist() for _ in range(2)]
    assert draws[0] == draws[1]
    assert -1 not in labels[draws[0]]
