"""The recorder and the sampler on the real backbone in a real detector, fed by MMDetection's pipeline."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.dataset import Compose, pseudo_collate

import mmsls.integrations.mmdet  # noqa: F401  registers the backbone
from mmsls.features import FeatureBank, FeatureRecorder, InstanceSampler, Record

BOXES = [[[12, 9, 70, 55], [3, 60, 9, 66]], [[20, 30, 90, 101]]]
SHAPES = [(81, 117), (123, 95)]


def build_detector(kept_depths: tuple[int, ...]) -> torch.nn.Module:
    swin = {'type': 'PrunedSwinTransformer', 'embed_dims': 12, 'depths': (1, 2, 1, 1), 'num_heads': (1, 2, 2, 2)}
    head = {'type': 'RetinaHead', 'num_classes': 3, 'in_channels': 8, 'feat_channels': 8, 'stacked_convs': 1}
    config = {
        'type': 'RetinaNet',
        'data_preprocessor': {
            'type': 'DetDataPreprocessor',
            'mean': [120] * 3,
            'std': [60] * 3,
            'pad_size_divisor': 32,
        },
        'backbone': swin | {'kept_depths': kept_depths, 'window_size': 4},
        'neck': {'type': 'FPN', 'in_channels': [12, 24, 48, 96], 'out_channels': 8, 'num_outs': 5},
        'bbox_head': head
        | {
            'anchor_generator': {'type': 'AnchorGenerator', 'ratios': [1.0], 'scales': [4]}
            | {'strides': [4, 8, 16, 32, 64]}
        },
        'test_cfg': {'nms_pre': 50, 'score_thr': 0.9, 'min_bbox_size': 0, 'max_per_img': 5}
        | {'nms': {'type': 'nms', 'iou_threshold': 0.5}},
    }
    torch.manual_seed(0)
    return MODELS.build(ConfigDict(config)).eval()


@pytest.fixture
def batch(tmp_path) -> dict:
    """Two images of odd sizes through a test pipeline, padded to a common size by the detector."""
    register_all_modules(init_default_scope=True)
    rng = np.random.default_rng(0)
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    steps = [{'type': 'LoadImageFromFile'}, {'type': 'Resize', 'scale': (150, 130), 'keep_ratio': True}]
    steps = [TRANSFORMS.build(step) for step in [*steps, {'type': 'LoadAnnotations'}]]
    pipeline = Compose([*steps, PackDetInputs(meta_keys=keys)])
    items = []
    for number, (shape, boxes) in enumerate(zip(SHAPES, BOXES, strict=True)):
        path = str(tmp_path / f'{number}.png')
        cv2.imwrite(path, rng.integers(0, 255, (*shape, 3), dtype=np.uint8))
        instances = [{'bbox': box, 'bbox_label': row, 'ignore_flag': 0} for row, box in enumerate(boxes)]
        items.append(pipeline({'img_path': path, 'img_id': number, 'instances': instances}))
    return pseudo_collate(items)


def mean_in_box(output: torch.Tensor, hw_shape, stride: int, box, metainfo: dict) -> np.ndarray:
    """Average one block's output the slow way."""
    x1, y1, x2, y2 = np.array(box) * np.tile(metainfo['scale_factor'], 2)
    rows = []
    for token in range(output.shape[0]):
        cy, cx = (token // hw_shape[1] + 0.5) * stride, (token % hw_shape[1] + 0.5) * stride
        if x1 <= cx < x2 and y1 <= cy < y2:
            rows.append(output[token])
    if not rows:
        i, j = int((y1 + y2) / 2 // stride), int((x1 + x2) / 2 // stride)
        rows = [output[i * hw_shape[1] + j]]
    return torch.stack(rows).mean(0).numpy()


@pytest.mark.parametrize('kept_depths', [(1, 2, 1, 1), (1, 1, 1, 0)])
def test_every_block_of_a_real_detector(batch, kept_depths):
    model = build_detector(kept_depths)
    outputs_of = {}
    for block_id, block in model.backbone.iter_blocks():
        block.register_forward_hook(
            lambda _, args, output, key=block_id: outputs_of.update({key: (output.detach(), tuple(args[1]))})
        )
    with FeatureRecorder(model.backbone) as recorder, torch.no_grad():
        data_samples = model.val_step(batch)
        samples = InstanceSampler()(recorder.take(), data_samples, [Record(0, 0), Record(0, 1)])
    assert [s.label for s in samples] == [0, 1, 0]
    assert [s.key[2] for s in samples] == [0, 1, 0]
    wanted_blocks = [(stage, block) for stage, depth in enumerate(kept_depths) for block in range(depth)]
    for one, image, box in zip(samples, (0, 0, 1), [*BOXES[0], *BOXES[1]], strict=True):
        assert list(one.features) == wanted_blocks
        for (stage, block), row in one.features.items():
            output, hw_shape = outputs_of[stage, block]
            wanted = mean_in_box(output[image], hw_shape, 4 * 2**stage, box, data_samples[image].metainfo)
            np.testing.assert_allclose(row, wanted, rtol=1e-4, atol=1e-5)
    bank = FeatureBank()
    bank.add(samples)
    features, labels, _ = bank.to_arrays()
    assert {block: rows.shape for block, rows in features.items()} == {
        (stage, block): (3, 12 * 2**stage) for stage, block in wanted_blocks
    }
    assert sorted(labels) == [0, 0, 1]
