"""The images are painted: instance n has colour n all over, so a feature from a wrong place has a wrong colour."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate

from mmsls.features import FeatureRecorder, InstanceSampler, Record
from mmsls.features.records import RepeatedRecord
from mmsls.features.samplers import weighted_means

SHAPES = [(90, 120), (130, 100)]
# x, y, w, h in original pixels, large enough to hold whole tokens of every stride at every scale below.
BOXES = [[(8, 10, 50, 60), (64, 30, 50, 55)], [(5, 8, 60, 52), (30, 66, 66, 60)]]
SMALL = (3, 2, 4, 3)


def colour(number: int) -> np.ndarray:
    return np.array([40 + 50 * number, 200 - 60 * number, 90 + 30 * number])


def draw_images(folder: Path) -> Path:
    """Write two painted images and their COCO annotations with boxes, polygons and one crowd (to be ignored)."""
    images, annotations = [], []
    for image_id, (shape, boxes) in enumerate(zip(SHAPES, BOXES, strict=True)):
        pixels = np.zeros((*shape, 3), np.uint8)
        for number, (x, y, w, h) in enumerate(boxes):
            pixels[y : y + h, x : x + w] = colour(number)
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {
                    'bbox': [x, y, w, h],
                    'area': w * h,
                    'iscrowd': 0,
                    'segmentation': [polygon],
                    'category_id': 1 + number,
                }
                | {'id': len(annotations) + 1, 'image_id': image_id}
            )
        crowd = {'segmentation': {'size': list(shape), 'counts': [0, shape[0] * shape[1]]}, 'iscrowd': 1}
        annotations.append(
            {'bbox': [1, 1, 80, 80], 'area': 6400, 'category_id': 1, 'id': len(annotations) + 1, 'image_id': image_id}
            | crowd
        )
        cv2.imwrite(str(folder / f'{image_id}.png'), pixels)
        images.append({'id': image_id, 'file_name': f'{image_id}.png', 'height': shape[0], 'width': shape[1]})
    categories = [{'id': 1, 'name': 'first'}, {'id': 2, 'name': 'second'}]
    (folder / 'ann.json').write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': categories})
    )
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    register_all_modules(init_default_scope=True)
    return draw_images(tmp_path_factory.mktemp('painted'))


def load_dataset(folder: Path, resize: dict | None, load: dict | None, pad: dict | None = None) -> CocoDataset:
    """Build MMDetection's own data set with a test pipeline."""
    steps = [{'type': 'LoadImageFromFile'}, resize and {'type': 'Resize', **resize}, pad and {'type': 'Pad', **pad}]
    steps += [load is not None and {'type': 'LoadAnnotations', **(load or {})}]
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    return CocoDataset(
        ann_file=str(folder / 'ann.json'),
        data_prefix={'img': str(folder)},
        metainfo={'classes': ('first', 'second')},
        pipeline=[step for step in steps if step] + [{'type': 'PackDetInputs', 'meta_keys': keys}],
        test_mode=True,
    )


def load_batch(folder: Path, *pipeline: dict | None, **preprocessor) -> tuple[torch.Tensor, list]:
    """Run both images through the test pipeline and MMDetection's preprocessor."""
    dataset = load_dataset(folder, *pipeline)
    batch = DetDataPreprocessor(pad_size_divisor=32, **preprocessor)(pseudo_collate([dataset[0], dataset[1]]))
    return torch.stack(tuple(batch['inputs'])).float(), batch['data_samples']


def records(count: int) -> list[Record]:
    return [Record(0, number) for number in range(count)]


def sample(backbone, inputs, data_samples, **kwargs) -> list:
    with FeatureRecorder(backbone) as recorder, torch.no_grad():
        backbone(inputs)
        return InstanceSampler(**kwargs)(recorder.take(), data_samples, records(len(data_samples)))


@pytest.mark.parametrize('boxtype2tensor', [True, False])
@pytest.mark.parametrize(
    'load',
    [{'with_bbox': True}, {'with_mask': True}, {'with_mask': True, 'poly2mask': False}],
    ids=['box', 'bitmap', 'poly'],
)
@pytest.mark.parametrize(
    ('resize', 'pad'),
    [
        ({'scale': (240, 300), 'keep_ratio': True}, None),
        ({'scale': (96, 110), 'keep_ratio': False}, None),
        ({'scale': (160, 160), 'keep_ratio': True}, {'size': (192, 192)}),
        (None, None),
    ],
    ids=['larger', 'distorted', 'padded', 'asis'],
)
def test_features_lie_where_the_instances_are(colour_backbone, folder, resize, pad, load, boxtype2tensor):
    inputs, data_samples = load_batch(folder, resize, load, pad, boxtype2tensor=boxtype2tensor)
    samples = sample(colour_backbone(), inputs, data_samples)
    assert [(s.key, s.label) for s in samples] == [
        ((0, image, number), number) for image in range(2) for number in range(2)
    ]
    for one in samples:
        assert list(one.features) == [(0, 0), (0, 1), (1, 0), (2, 0)]
        assert all(row.dtype == np.float32 and row.shape == (3,) for row in one.features.values())
        # Tokens at a border mix two colours; at stride 4 they are few and the mean stays near. Block (0, 0) halves it.
        np.testing.assert_allclose(one.features[0, 1], colour(one.key[2]), atol=14)
        np.testing.assert_allclose(one.features[0, 0], one.features[0, 1] / 2, rtol=1e-5)
        wrong = colour(1 - one.key[2])
        for block in ((1, 0), (2, 0)):
            assert np.abs(one.features[block] - colour(one.key[2])).sum() < np.abs(one.features[block] - wrong).sum()


def test_real_detector_in_its_validation_step(colour_backbone, folder):
    """What `after_val_iter` gets from a real RetinaNet: its predictions have joined the ground truth by then."""
    dataset = load_dataset(folder, {'scale': (240, 300), 'keep_ratio': True}, {'with_bbox': True})
    head = {'type': 'RetinaHead', 'num_classes': 2, 'in_channels': 8, 'feat_channels': 8}
    anchors = {'type': 'AnchorGenerator', 'strides': [4, 8, 16, 32, 64], 'ratios': [1.0]}
    config = {
        'type': 'RetinaNet',
        'data_preprocessor': {'type': 'DetDataPreprocessor', 'pad_size_divisor': 32},
        'backbone': {'type': 'ResNet', 'depth': 18},
        'neck': {'type': 'FPN', 'in_channels': [3, 3, 3], 'out_channels': 8, 'num_outs': 5},
        'bbox_head': head | {'anchor_generator': anchors | {'octave_base_scale': 4, 'scales_per_octave': 1}},
        'test_cfg': {'nms_pre': 100, 'score_thr': -1.0, 'min_bbox_size': 0, 'max_per_img': 10}
        | {'nms': {'type': 'nms', 'iou_threshold': 0.5}},
    }
    torch.manual_seed(0)  # some random heads leave no box
    model = MODELS.build(ConfigDict(config)).eval()
    model.backbone = colour_backbone()
    with FeatureRecorder(model.backbone) as recorder, torch.no_grad():
        outputs = model.val_step(pseudo_collate([dataset[0], dataset[1]]))
        samples = InstanceSampler()(recorder.take(), outputs, records(2))
    assert all(len(output.pred_instances) for output in outputs)
    assert [(s.key[2], s.label) for s in samples] == [(0, 0), (1, 1)] * 2
    for one in samples:
        np.testing.assert_allclose(one.features[0, 1], colour(one.key[2]), atol=14)


def test_result_does_not_depend_on_the_batch(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_bbox': True})
    together = sample(colour_backbone(), inputs, data_samples)
    alone = sample(colour_backbone(), inputs[1:, :, :160, :128], data_samples[1:])  # padded less
    for one, other in zip(together[2:], alone, strict=True):
        assert one.key[2] == other.key[2]
        assert all((one.features[block] == other.features[block]).all() for block in one.features)


def test_masks_are_taken_only_where_wanted(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_mask': True})
    halves = np.zeros((2, *SHAPES[0]), np.uint8)
    halves[0, 70:, :60] = 1  # black ground instead of the first box
    halves[1, 0, 0] = 1  # one pixel: the most covered token, still black
    data_samples[0].gt_instances.masks = BitmapMasks(halves, *SHAPES[0])
    by_mask, by_box = (sample(colour_backbone(), inputs, data_samples, use_masks=use)[:2] for use in ('auto', False))
    assert by_mask[0].features[0, 1].max() < 20
    assert by_mask[1].features[0, 1].max() == 0
    assert by_box[0].features[0, 1].min() > 20
    assert by_box[1].features[0, 1].min() > 20


def test_an_empty_mask_falls_back_on_its_box(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_mask': True})
    data_samples[0].gt_instances.masks.masks[1] = 0
    by_mask, by_box = (sample(colour_backbone(), inputs, data_samples, use_masks=use)[1] for use in (True, False))
    assert all((by_mask.features[block] == by_box.features[block]).all() for block in by_mask.features)


def test_small_and_clipped_boxes_give_a_feature_and_outer_ones_none(colour_backbone, folder, monkeypatch):
    warnings = []
    monkeypatch.setattr('mmsls.features.instance_sampler.print_log', lambda text, **_: warnings.append(text))
    inputs, data_samples = load_batch(folder, {'scale': (240, 300), 'keep_ratio': True}, {'with_bbox': True})
    x, y, w, h = SMALL
    height, width = SHAPES[0]
    boxes = [
        [x, y, x + w, y + h],
        [width, 0, width + 9, 9],
        [-50, -50, 30, 30],
        [width - 1, height - 1, width + 9, height + 9],
    ]
    data_samples[0].gt_instances = type(data_samples[0].gt_instances)(
        bboxes=torch.tensor(boxes, dtype=torch.float32), labels=torch.tensor([0, 1, 0, 1])
    )
    samples = sample(colour_backbone(), inputs, data_samples)
    assert [s.key[2] for s in samples[:3]] == [0, 2, 3]
    assert [s.label for s in samples[:3]] == [0, 0, 1]
    (warning,) = warnings
    assert '1 ground-truth instances of' in warning
    assert all(np.isfinite(row).all() for one in samples for row in one.features.values())
    data_samples[0].gt_instances = data_samples[0].gt_instances[2:]
    alone = sample(colour_backbone(), inputs, data_samples)[0]
    assert all((alone.features[block] == samples[1].features[block]).all() for block in alone.features)


def test_images_without_instances_give_no_sample(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_mask': True})
    data_samples[0].gt_instances = data_samples[0].gt_instances[torch.zeros(2, dtype=torch.bool)]
    assert {s.key[1] for s in sample(colour_backbone(), inputs, data_samples)} == {1}


def test_an_image_needs_no_name(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_bbox': True})
    for data_sample in data_samples:
        data_sample.set_metainfo({'img_path': None, 'img_id': None})
    assert [s.key[1:] for s in sample(colour_backbone(), inputs, data_samples)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    del data_samples[1].gt_instances
    with pytest.raises(ValueError, match='record 1 of data set 0 comes without ground truth'):
        sample(colour_backbone(), inputs, data_samples)


@pytest.mark.parametrize(
    ('load', 'kwargs', 'message'),
    [
        (None, {}, 'comes without ground truth: the pipeline .*LoadAnnotations'),
        ({'with_bbox': True}, {'use_masks': True}, 'the ground truth has no masks'),
        ({'with_bbox': False}, {}, 'neither boxes nor masks'),
        ({'with_bbox': True}, {'use_masks': 'yes'}, "use_masks='yes' must be"),
    ],
)
def test_missing_ground_truth_is_refused(colour_backbone, folder, load, kwargs, message):
    inputs, data_samples = load_batch(folder, None, load)
    with pytest.raises(ValueError, match=message):
        sample(colour_backbone(), inputs, data_samples, **kwargs)


def test_masks_in_another_frame_are_refused(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, {'scale': (240, 300), 'keep_ratio': True}, {'with_mask': True})
    data_samples[0].gt_instances.masks = data_samples[0].gt_instances.masks.resize((225, 300))
    with pytest.raises(ValueError, match=r'masks are \(225, 300\).* original image is \(90, 120\)'):
        sample(colour_backbone(), inputs, data_samples)


def test_several_or_no_passes_are_refused(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_bbox': True})
    backbone, sampler = colour_backbone(), InstanceSampler()
    with FeatureRecorder(backbone) as recorder:
        backbone(inputs)
        backbone(inputs.flip(3))
        with pytest.raises(ValueError, match=r'ran 2 times .* test-time augmentation'):
            sampler(recorder.take(), data_samples, records(2))
        with pytest.raises(ValueError, match='no forward'):
            sampler(recorder.take(), data_samples, records(2))
        backbone(inputs[:1])
        with pytest.raises(ValueError, match=r'1 images of .* for 2 data samples'):
            sampler(recorder.take(), data_samples, records(2))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_means_are_taken_in_float32(dtype):
    tokens = torch.full((4096, 3), 1.0).to(dtype)
    weights = np.full((2, 64, 64), 1 / 4096, np.float32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        means = weighted_means(tokens + torch.tensor([0, 1, 2], dtype=dtype), weights)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, [[1, 2, 3]] * 2, rtol=1e-6)


# Counts.


def test_everything_is_counted(colour_backbone, folder):
    """Each image has two instances and a crowd; the second one comes twice."""
    inputs, data_samples = load_batch(folder, None, {'with_bbox': True})
    data_samples[0].gt_instances.bboxes[1] += 500
    sampler, backbone = InstanceSampler(), colour_backbone()
    for second in (Record(0, 1), RepeatedRecord(0, 1)):
        with FeatureRecorder(backbone) as recorder, torch.no_grad():
            backbone(inputs)
            samples = sampler(recorder.take(), data_samples, [Record(0, 0), second])
    assert [one.key for one in samples] == [(0, 0, 0)]
    skipped = {'ignored': 3, 'outside the image': 2, 'repeated image': 3}
    assert sampler.counts.as_dict() == {
        'unit': 'instances',
        'images': 4,
        'empty_images': 0,
        'offered': 12,
        'kept': 4,
        'skipped': skipped,
    }


def test_an_empty_image_is_counted_as_such(colour_backbone, folder):
    inputs, data_samples = load_batch(folder, None, {'with_bbox': True})
    data_samples[0].gt_instances = data_samples[0].gt_instances[torch.zeros(2, dtype=torch.bool)]
    del data_samples[0].ignored_instances
    sampler, backbone = InstanceSampler(), colour_backbone()
    with FeatureRecorder(backbone) as recorder, torch.no_grad():
        backbone(inputs)
        sampler(recorder.take(), data_samples, records(2))
    assert (sampler.counts.images, sampler.counts.empty) == (2, 1)


def test_another_record_in_place_of_the_one_asked_for_is_refused(colour_backbone, folder):
    dataset = load_dataset(folder, None, {'with_bbox': True})
    dataset.test_mode = False
    sampler, backbone = InstanceSampler(), colour_backbone()
    sampler.prepare(dataset)
    batch = DetDataPreprocessor(pad_size_divisor=32)(pseudo_collate([dataset[1]]))
    with FeatureRecorder(backbone) as recorder, torch.no_grad():
        backbone(
            batch['inputs'].float() if isinstance(batch['inputs'], torch.Tensor) else batch['inputs'][0][None].float()
        )
        with pytest.raises(ValueError, match=r'record 0 .* set test_mode=True'):
            sampler(recorder.take(), batch['data_samples'], [Record(0, 0)])


# Background.


def one_class(folder: Path, **kwargs) -> tuple[CocoDataset, InstanceSampler]:
    dataset = load_dataset(folder, {'scale': (240, 300), 'keep_ratio': True}, {'with_bbox': True})
    dataset._metainfo['classes'] = ('cell',)
    sampler = InstanceSampler(**kwargs)
    sampler.prepare(dataset)
    return dataset, sampler


def background_of(backbone, dataset, sampler, order=(0, 1)) -> dict:
    found = {}
    for number in order:
        batch = DetDataPreprocessor(pad_size_divisor=32)(pseudo_collate([dataset[number]]))
        with FeatureRecorder(backbone) as recorder, torch.no_grad():
            backbone(torch.stack(tuple(batch['inputs'])).float())
            for one in sampler(recorder.take(), batch['data_samples'], [Record(0, number)]):
                if one.key[2] < 0:
                    found[one.key] = one
    return found


@pytest.fixture
def small_objects(tmp_path) -> Path:
    """As `folder`, but the objects and the crowd leave room."""
    draw_images(tmp_path)
    content = json.loads((tmp_path / 'ann.json').read_text())
    for one in content['annotations']:
        x, y, _, _ = one['bbox']
        one['bbox'] = [x, y, 18, 18]
    for image, shape in enumerate(SHAPES):
        pixels = np.zeros((*shape, 3), np.uint8)
        for one in content['annotations']:
            if one['image_id'] == image:
                x, y, w, h = one['bbox']
                pixels[y : y + h, x : x + w] = 255
        cv2.imwrite(str(tmp_path / f'{image}.png'), pixels)
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    return tmp_path


def test_one_class_is_told_apart_from_background(colour_backbone, small_objects):
    dataset, sampler = one_class(small_objects)
    found = background_of(colour_backbone(), dataset, sampler)
    assert sorted(found) == [(0, image, number) for image in range(2) for number in (-2, -1)]
    for one in found.values():
        assert one.label == 1
        assert one.features[0, 1].max() < 100  # objects are white; a box beside one shares a token's edge with it
    assert sampler.counts.as_dict()['kept'] == 8
    assert sampler.scores_one_class
    again = background_of(colour_backbone(), *one_class(small_objects), order=(1, 0))
    assert all((again[key].features[0, 1] == one.features[0, 1]).all() for key, one in found.items())


def test_where_no_place_is_free_background_is_skipped_and_counted(colour_backbone, folder):
    """The crowd fills most of the images, and the objects are large."""
    dataset, sampler = one_class(folder)
    assert background_of(colour_backbone(), dataset, sampler) == {}
    assert sampler.counts.skipped['no free place for background'] == 4
    assert sampler.counts.kept == 4


def test_background_by_choice(colour_backbone, small_objects):
    dataset, sampler = one_class(small_objects, background=False)
    assert background_of(colour_backbone(), dataset, sampler) == {}
    assert not sampler.scores_one_class
    two = load_dataset(small_objects, None, {'with_bbox': True})
    for background, count in (('auto', 0), (True, 4)):
        sampler = InstanceSampler(background=background)
        sampler.prepare(two)
        found = background_of(colour_backbone(), two, sampler)
        assert len(found) == count
        assert {one.label for one in found.values()} <= {2}
    with pytest.raises(ValueError, match="background='no' must be"):
        InstanceSampler(background='no')
