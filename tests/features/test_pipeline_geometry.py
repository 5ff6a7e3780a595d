"""Pipelines drawn from the hosts' transforms and a user's own.

A feature has its object's colour, or scoring refuses a transform by name.

Instance (class) n of an image is painted in channel n alone, on black: a feature from elsewhere lacks it, or has
another.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets import CocoDataset, MultiImageMixDataset
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.utils import register_all_modules
from mmengine.dataset import ConcatDataset, pseudo_collate
from mmengine.registry import TRANSFORMS
from mmseg.datasets import BaseSegDataset
from mmseg.models.data_preprocessor import SegDataPreProcessor

from mmsls.features import FeatureRecorder, InstanceSampler, Record, RegionSampler
from mmsls.features.leaves import find_leaves
from mmsls.features.pipeline_geometry import PipelineGeometry

SHAPES = [(90, 120), (130, 100)]
# x, y, w, h; nothing like their mirror images.
BOXES = [[(8, 10, 36, 30), (70, 44, 40, 40)], [(12, 60, 40, 52), (56, 8, 36, 44)]]
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


@TRANSFORMS.register_module()
class PadLeftTop(BaseTransform):
    """A user's own: a border of another size on every side; `centre` the same on opposite sides."""

    def __init__(self, left=13, top=7, right=3, bottom=9):
        self.sides = (top, bottom, left, right)

    def transform(self, results):
        results['img'] = cv2.copyMakeBorder(results['img'], *self.sides, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class Mirror(BaseTransform):
    """A user's own flip, of which no meta information tells."""

    def transform(self, results):
        results['img'] = results['img'][:, ::-1].copy()
        return results


@TRANSFORMS.register_module()
class CropOfRecord(BaseTransform):
    """A user's own: cuts a window that depends on the record."""

    def transform(self, results):
        start = 6 if results['img_path'].endswith('0.png') else 2
        results['img'] = results['img'][start:, 2 * start :]
        results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class Turn(BaseTransform):
    """A user's own: turns the image round its middle by a little."""

    def transform(self, results):
        height, width = results['img'].shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
        results['img'] = cv2.warpAffine(results['img'], matrix, (width, height))
        return results


@TRANSFORMS.register_module()
class Shake(BaseTransform):
    """A user's own: shifts the image at random."""

    def transform(self, results):
        results['img'] = np.roll(results['img'], np.random.randint(12), axis=1)
        return results


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    register_all_modules(init_default_scope=True)
    folder = tmp_path_factory.mktemp('channels')
    images, annotations = [], []
    for image, (shape, boxes) in enumerate(zip(SHAPES, BOXES, strict=True)):
        pixels, labels = np.zeros((*shape, 3), np.uint8), np.full(shape, 2, np.uint8)
        for number, (x, y, w, h) in enumerate(boxes):
            pixels[y : y + h, x : x + w, number] = 200
            labels[y : y + h, x : x + w] = number
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            one = {
                'bbox': [x, y, w, h],
                'area': w * h,
                'iscrowd': 0,
                'segmentation': [polygon],
                'category_id': 1 + number,
            }
            annotations.append({**one, 'id': len(annotations) + 1, 'image_id': image})
        cv2.imwrite(str(folder / f'{image}.png'), pixels)
        cv2.imwrite(str(folder / f'{image}.map.tif'), labels)
        images.append({'id': image, 'file_name': f'{image}.png', 'height': shape[0], 'width': shape[1]})
    categories = [{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'b'}]
    (folder / 'ann.json').write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': categories})
    )
    return folder


def boxes_of(folder: Path, steps: list, load: dict, meta=META) -> CocoDataset:
    steps = [{'type': 'LoadAnnotations', **load} if step == 'load' else step for step in steps]
    return CocoDataset(
        ann_file=str(folder / 'ann.json'),
        data_prefix={'img': str(folder)},
        metainfo={'classes': ('a', 'b')},
        pipeline=[{'type': 'LoadImageFromFile'}, *steps, {'type': 'PackDetInputs', 'meta_keys': meta}],
        test_mode=True,
        serialize_data=False,  # which collects garbage for a third of a second
    )


def maps_of(folder: Path, steps: list) -> BaseSegDataset:
    steps = [{'type': 'mmseg.LoadAnnotations'} if step == 'load' else step for step in steps]
    return BaseSegDataset(
        data_prefix={'img_path': str(folder), 'seg_map_path': str(folder)},
        img_suffix='.png',
        seg_map_suffix='.map.tif',
        metainfo={'classes': ('a', 'b', 'c'), 'palette': [[0] * 3] * 3},
        pipeline=[{'type': 'LoadImageFromFile'}, *steps, {'type': 'mmseg.PackSegInputs'}],
        test_mode=True,
        serialize_data=False,  # which collects garbage for a third of a second
    )


def runs(dataset) -> bool:
    """Whether the hosts run it at all: MMCV's transforms know no boxes of MMDetection, some crops leave no image."""
    try:
        return all(dataset[number] is not None for number in range(len(dataset)))
    except Exception:
        return False


def sample(backbone, dataset, sampler, preprocessor) -> list:
    """Prepare, then run one image at a time, as a hook does."""
    sampler.prepare(dataset)
    samples = []
    for number in range(len(dataset)):
        batch = preprocessor(pseudo_collate([dataset[number]]))
        inputs = batch['inputs'] if isinstance(batch['inputs'], torch.Tensor) else torch.stack(tuple(batch['inputs']))
        with FeatureRecorder(backbone) as recorder, torch.no_grad():
            backbone(inputs.float())
            samples += sampler(recorder.take(), batch['data_samples'], [Record(0, number)])
    return samples


def attempt(*arguments) -> tuple[list, str | None]:
    """The samples, or what the refusal says."""
    try:
        return sample(*arguments), None
    except ValueError as error:
        return [], str(error)


def assert_painted(samples, strict: bool, steps=None) -> None:
    for one in samples:
        if one.label > 1:
            continue
        feature = one.features[0, 1]
        own, other = feature[one.label], feature[1 - one.label]
        assert own > (100 if strict else 5), (one.key, feature, steps)
        assert other < 0.3 * own, (one.key, feature, steps)
        assert feature[2] == 0


RESIZE = [
    {'type': 'Resize', 'scale': (160, 150), 'keep_ratio': True},
    {'type': 'Resize', 'scale': (97, 121), 'keep_ratio': False},
    {'type': 'mmcv.Resize', 'scale_factor': 1.3},
    {'type': 'FixScaleResize', 'scale': (150, 120), 'keep_ratio': True},
    {'type': 'ResizeShortestEdge', 'scale': 111, 'max_size': 170},
]
PLAIN = [
    {'type': 'RandomFlip', 'prob': 1.0, 'direction': 'horizontal'},
    {'type': 'RandomFlip', 'prob': 1.0, 'direction': 'vertical'},
    {'type': 'mmcv.RandomFlip', 'prob': 0.6, 'direction': ['horizontal', 'diagonal']},
    {'type': 'Pad', 'size_divisor': 32},
    {'type': 'Pad', 'size': (192, 224)},
    {'type': 'mmcv.CenterCrop', 'crop_size': (100, 90)},
    {'type': 'mmcv.CenterCrop', 'crop_size': (170, 200), 'auto_pad': True},
    {'type': 'mmseg.ResizeToMultiple', 'size_divisor': 24},
]
OWN = [{'type': 'PadLeftTop'}, {'type': 'Mirror'}, {'type': 'CropOfRecord'}]
UNPLACED = [
    {'type': 'Turn'},
    {'type': 'Shake'},
    {'type': 'mmcv.RandomResize', 'scale': (120, 100), 'ratio_range': (0.5, 2.0)},
]
CROPS = {'CenterCrop', 'CropOfRecord', 'RandomCrop'}


def name_of(step: dict) -> str:
    return step['type'].split('.')[-1]


def draw(seed: int) -> list:
    rng = random.Random(seed)
    before = rng.sample(RESIZE, rng.randint(0, 2)) + rng.sample(PLAIN + OWN, rng.randint(0, 2))
    before += rng.sample(UNPLACED, rng.random() < 0.1)
    rng.shuffle(before)
    behind = rng.sample(
        [step for step in PLAIN + RESIZE + OWN if step['type'] != 'mmcv.RandomFlip'], rng.choice([0, 0, 0, 1, 2])
    )
    return [*before, 'load', *behind]


@pytest.mark.parametrize('start', range(0, 120, 30))
def test_drawn_detection_pipelines_are_followed_or_refused_by_name(colour_backbone, folder, start):
    followed = 0
    loads = ({'with_bbox': True}, {'with_mask': True}, {'with_mask': True, 'poly2mask': False})
    for seed in range(start, start + 30):
        steps = draw(seed)
        names = [name_of(step) for step in steps if step != 'load']
        dataset = boxes_of(folder, steps, loads[seed % 3])
        if not runs(dataset):
            continue
        samples, refused = attempt(
            colour_backbone(),
            dataset,
            InstanceSampler(use_masks=False if seed % 2 else 'auto'),
            DetDataPreprocessor(pad_size_divisor=32),
        )
        if refused is not None:
            assert any(name in refused for name in names), (steps, refused)
            continue
        followed += 1
        assert_painted(samples, not CROPS & set(names), steps)
        assert samples or CROPS & set(names)
    assert followed >= 8


@pytest.mark.parametrize('start', range(0, 60, 30))
def test_drawn_segmentation_pipelines_are_followed_or_refused_by_name(colour_backbone, folder, start):
    followed = 0
    for seed in range(start, start + 30):
        steps = [step for step in draw(seed) if name_of(step if step != 'load' else {'type': ''}) != 'FixScaleResize']
        names = [name_of(step) for step in steps if step != 'load']
        dataset = maps_of(folder, steps)
        if not runs(dataset):
            continue
        preprocessor = SegDataPreProcessor(size_divisor=None)
        samples, refused = attempt(colour_backbone(), dataset, RegionSampler(min_tokens=2), preprocessor)
        if refused is not None:
            told = 'load annotations behind Resize' in refused  # a map of another size than the image
            assert told or any(name in refused for name in names), (steps, refused)
            continue
        followed += 1
        assert_painted(samples, strict=False)
    assert followed >= 8


@pytest.mark.parametrize('step', [*RESIZE, *PLAIN, *OWN], ids=lambda step: f'{step["type"]}{len(str(step))}')
def test_each_transform_before_the_annotations_is_followed(colour_backbone, folder, step):
    dataset = boxes_of(folder, [step, 'load'], {'with_mask': True})
    samples = sample(colour_backbone(), dataset, InstanceSampler(), DetDataPreprocessor(pad_size_divisor=32))
    assert len(samples) == 4
    assert_painted(samples, strict=name_of(step) not in CROPS)


@pytest.mark.parametrize('step', [*RESIZE, *PLAIN], ids=lambda step: f'{step["type"]}{len(str(step))}')
def test_transforms_behind_the_annotations_leave_them_in_the_inputs_frame(colour_backbone, folder, step):
    dataset = boxes_of(folder, ['load', step], {'with_bbox': True})
    if not runs(dataset) or step['type'] == 'mmcv.RandomFlip':
        pytest.skip('MMCV knows no boxes of MMDetection')
    preprocessor = DetDataPreprocessor(pad_size_divisor=32)
    samples, refused = attempt(colour_backbone(), dataset, InstanceSampler(), preprocessor)
    if refused is not None:  # it moves the image alone
        assert name_of(step) in refused
        assert step['type'].startswith('mm')
        return
    assert len(samples) == 4
    assert_painted(samples, strict=True)


@pytest.mark.parametrize('step', UNPLACED, ids=lambda step: step['type'])
def test_what_cannot_be_followed_is_refused_before_anything_runs(folder, step):
    with pytest.raises(ValueError, match=name_of(step)):
        InstanceSampler().prepare(boxes_of(folder, [RESIZE[0], step, 'load'], {'with_bbox': True}))


def test_a_flip_behind_annotations_in_another_frame_is_refused(folder):
    steps = [RESIZE[0], 'load', {'type': 'RandomFlip', 'prob': 0.5}]
    with pytest.raises(ValueError, match=r'RandomFlip .*behind LoadAnnotations'):
        InstanceSampler().prepare(boxes_of(folder, steps, {'with_bbox': True}))


def test_a_random_flip_of_which_nothing_tells_is_refused(colour_backbone, folder):
    steps, silent = [RESIZE[0], {'type': 'RandomFlip', 'prob': 0.5}, 'load'], META[:-2]
    with pytest.raises(ValueError, match=r'RandomFlip .*add flip and flip_direction to meta_keys'):
        sample(
            colour_backbone(),
            boxes_of(folder, steps, {'with_bbox': True}, silent),
            InstanceSampler(),
            DetDataPreprocessor(),
        )
    always = [RESIZE[0], {'type': 'RandomFlip', 'prob': 1.0}, 'load']
    dataset = boxes_of(folder, always, {'with_bbox': True}, silent)
    assert_painted(sample(colour_backbone(), dataset, InstanceSampler(), DetDataPreprocessor()), strict=True)


def test_ordinary_pipelines_keep_their_exact_arithmetic(folder):
    """The published decisions must not move by a bit."""
    from mmsls.features.image_frame import ImageFrame

    dataset = boxes_of(folder, [RESIZE[0], {'type': 'Pad', 'size_divisor': 32}, 'load'], {'with_bbox': True})
    geometry = PipelineGeometry(find_leaves(dataset)[0])
    for number in range(2):
        metainfo = dataset[number]['data_samples'].metainfo
        assert geometry.frame(metainfo, number) == ImageFrame.from_metainfo(metainfo)


def test_nothing_of_the_run_is_touched(folder):
    """Neither its random numbers nor its transforms."""
    dataset = boxes_of(folder, [RESIZE[0], PLAIN[2], 'load'], {'with_bbox': True})
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    InstanceSampler().prepare(dataset)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_parts_of_a_concatenation_have_pipelines_of_their_own(colour_backbone, folder):
    parts = [boxes_of(folder, steps, {'with_bbox': True}) for steps in ([RESIZE[0], 'load'], ['load', RESIZE[1]])]
    sampler, dataset = InstanceSampler(), ConcatDataset(parts)
    sampler.prepare(dataset)
    assert [one.in_input for one in sampler.view.geometries] == [False, True]


def test_a_crop_counts_what_it_leaves_out(colour_backbone, folder):
    steps = [{'type': 'mmcv.CenterCrop', 'crop_size': (20, 40)}, 'load']
    sampler = InstanceSampler()
    samples = sample(colour_backbone(), boxes_of(folder, steps, {'with_bbox': True}), sampler, DetDataPreprocessor())
    assert sampler.counts.offered == 4
    assert sampler.counts.kept == len(samples) < 4
    assert sampler.counts.skipped['outside the image'] == 4 - len(samples)


def test_mixing_is_refused_by_name(folder):
    dataset = boxes_of(folder, ['load', {'type': 'CachedMosaic', 'img_scale': (64, 64)}], {'with_bbox': True})
    for sampler in (InstanceSampler(), RegionSampler()):
        with pytest.raises(ValueError, match='CachedMosaic in the pipeline'):
            sampler.prepare(dataset)
    inner = boxes_of(folder, ['load'], {'with_bbox': True})
    with pytest.raises(ValueError, match='MixUp in the pipeline'):
        InstanceSampler().prepare(MultiImageMixDataset(inner, [{'type': 'MixUp'}]))
