"""The images are painted: class n has colour n all over, so a feature from a wrong place has a wrong colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmseg.datasets import BaseSegDataset
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import nn
from torch.nn import functional as F

from mmsls.features import BlockTokens, FeatureRecorder, Record, RegionSampler
from mmsls.features.records import RepeatedRecord
from mmsls.features.tasks import build_sampler

SHAPE = (90, 120)
# class -> y1, x1, y2, x2; each holds whole tokens of every stride at every scale below. What is left is class 3.
REGIONS = {0: (0, 0, 42, 70), 1: (50, 8, 90, 64), 2: (6, 76, 84, 120)}
GROUND = 3
IGNORED = 255
COLOURS = np.array([[40, 200, 90], [90, 20, 120], [240, 140, 30], [10, 10, 10]])


def draw_images(folder: Path) -> Path:
    """Write two painted images and their maps; the second one is the first one turned round."""
    labels = np.full(SHAPE, GROUND, np.uint8)
    for label, (y1, x1, y2, x2) in REGIONS.items():
        labels[y1:y2, x1:x2] = label
    for number, turned in enumerate((labels, labels[::-1, ::-1])):
        cv2.imwrite(str(folder / f'{number}.jpg.png'), COLOURS[turned].astype(np.uint8))
        cv2.imwrite(str(folder / f'{number}.map.png'), turned)
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    register_all_modules(init_default_scope=True)
    return draw_images(tmp_path_factory.mktemp('regions'))


def segmentor(colour_backbone, *, padding=None, **test_cfg) -> nn.Module:
    """A real EncoderDecoder around the colour backbone: `val_step` pads, cuts and merges as MMSegmentation does."""
    head = {'type': 'FCNHead', 'in_channels': 3, 'channels': 3, 'num_convs': 0, 'concat_input': False}
    config = {
        'type': 'EncoderDecoder',
        'data_preprocessor': {'type': 'SegDataPreProcessor', 'test_cfg': padding},
        'backbone': {'type': 'ResNet', 'depth': 18},
        'decode_head': head | {'num_classes': 4, 'in_index': 0, 'align_corners': False},
        'test_cfg': {'mode': 'whole', **test_cfg},
    }
    model = MODELS.build(ConfigDict(config)).eval()
    model.backbone = colour_backbone()
    return model


def load_dataset(folder: Path, resize=None, load=None, pad=None, **arguments) -> BaseSegDataset:
    """MMSegmentation's own data set with a test pipeline; `load=False` reads no map."""
    steps = [{'type': 'LoadImageFromFile'}, resize and {'type': 'Resize', **resize}, pad and {'type': 'Pad', **pad}]
    steps += [load is not False and {'type': 'LoadAnnotations', **(load or {})}, {'type': 'PackSegInputs'}]
    return BaseSegDataset(
        data_prefix={'img_path': str(folder), 'seg_map_path': str(folder)},
        img_suffix='.jpg.png',
        seg_map_suffix='.map.png',
        metainfo={'classes': ('a', 'b', 'c', 'd'), 'palette': COLOURS.tolist()},
        pipeline=[step for step in steps if step],
        test_mode=True,
        **arguments,
    )


def sample(model, items, **settings) -> list:
    """What the hook does in `after_val_iter`."""
    with FeatureRecorder(model.backbone) as recorder, torch.no_grad():
        outputs = model.val_step(pseudo_collate(list(items)))
        sampler = build_sampler({'type': 'RegionSampler', **settings}, model)
        return sampler(recorder.take(), outputs, [Record(0, number) for number in range(len(outputs))])


def assert_painted(samples, images=2, atol=16) -> None:
    """Every region of every image has its own colour."""
    found = [(one.key, one.label) for one in samples]
    assert found == [((0, image, label), label) for image in range(images) for label in range(4)]
    for one in samples:
        assert list(one.features) == [(0, 0), (0, 1), (1, 0), (2, 0)]
        assert all(row.dtype == np.float32 and row.shape == (3,) for row in one.features.values())
        # Tokens at a border mix two colours; at stride 4 they are few and the mean stays near.
        if one.label != GROUND:
            np.testing.assert_allclose(one.features[0, 1], COLOURS[one.label], atol=atol)
        np.testing.assert_allclose(one.features[0, 0], one.features[0, 1] / 2, rtol=1e-4)
        for block in ((0, 1), (1, 0), (2, 0)):
            distances = np.abs(COLOURS - one.features[block]).sum(1)
            assert one.label == GROUND or distances.argmin() == one.label, (one.key, block, one.features[block])


RESIZES = [
    pytest.param({'scale': (240, 300), 'keep_ratio': True}, None, id='larger'),
    pytest.param({'scale': (150, 110), 'keep_ratio': False}, None, id='distorted'),
    pytest.param({'scale': (160, 160), 'keep_ratio': True}, {'size': (192, 192)}, id='padded'),
    pytest.param(None, None, id='asis'),
]


@pytest.mark.parametrize('padding', [None, {'size_divisor': 32}, {'size': (320, 320)}], ids=['bare', 'divisor', 'size'])
@pytest.mark.parametrize(('resize', 'pad'), RESIZES)
def test_features_lie_where_the_regions_are(colour_backbone, folder, resize, pad, padding):
    assert_painted(sample(segmentor(colour_backbone, padding=padding), load_dataset(folder, resize, pad=pad)))


@pytest.mark.parametrize('padding', [None, {'size_divisor': 32}], ids=['bare', 'divisor'])
@pytest.mark.parametrize(('crop', 'stride'), [((64, 96), (64, 96)), ((64, 96), (40, 32)), ((57, 71), (31, 53))])
@pytest.mark.parametrize(('resize', 'pad'), RESIZES)
def test_slide_mode_finds_them_too(colour_backbone, folder, resize, pad, crop, stride, padding):
    model = segmentor(colour_backbone, padding=padding, mode='slide', crop_size=crop, stride=stride)
    assert_painted(sample(model, load_dataset(folder, resize, pad=pad)), atol=20)


def assert_same(samples, wanted, **tolerance) -> None:
    assert [one.label for one in samples] == [one.label for one in wanted]
    for one, other in zip(samples, wanted, strict=True):
        for block in other.features:
            np.testing.assert_allclose(one.features[block], other.features[block], **tolerance)


def noise(folder: Path, count: int = 2) -> list:
    """The data set's items with noise for pixels, so that no two tokens agree."""
    items = [load_dataset(folder, {'scale': (128, 96), 'keep_ratio': False})[index] for index in range(count)]
    generator = torch.Generator().manual_seed(0)
    for item in items:
        item['inputs'] = torch.randint(0, 255, item['inputs'].shape, generator=generator).float()
    return items


def test_a_crop_that_covers_the_image_gives_what_whole_mode_gives(colour_backbone, folder):
    whole = sample(segmentor(colour_backbone), noise(folder))
    slide = segmentor(colour_backbone, mode='slide', crop_size=(96, 160), stride=(64, 64))
    assert_same(sample(slide, noise(folder)), whole, rtol=0, atol=0)


def test_crops_side_by_side_give_what_whole_mode_gives(colour_backbone, folder):
    """The colour backbone sees no further than a token, so crops at multiples of the coarsest stride change nothing."""
    whole = sample(segmentor(colour_backbone), noise(folder))
    slide = segmentor(colour_backbone, mode='slide', crop_size=(32, 64), stride=(32, 64))
    assert_same(sample(slide, noise(folder)), whole, rtol=1e-4)


def test_the_batch_makes_no_difference(colour_backbone, folder):
    model = segmentor(colour_backbone, mode='slide', crop_size=(64, 64), stride=(40, 40))
    together, items = sample(model, noise(folder)), noise(folder)
    assert_same([*sample(model, items[:1]), *sample(model, items[1:])], together, rtol=0, atol=0)


def test_the_feature_is_the_mean_of_the_feature_map_over_the_regions_pixels(colour_backbone, folder):
    items = noise(folder, count=1)
    labels = items[0]['data_samples'].gt_sem_seg.data[0]
    image = items[0]['inputs']
    samples = sample(segmentor(colour_backbone), items)
    for block, stride in (((0, 1), 4), ((2, 0), 16)):
        grown = F.interpolate(F.avg_pool2d(image[None], stride), scale_factor=stride)[0]
        # Both on a grid that both sizes divide: 90 x 120 and 96 x 128 meet at 1440 x 1920.
        fine = F.interpolate(grown[None], size=(1440, 1920))[0]
        map_of = F.interpolate(labels[None, None].float(), size=(1440, 1920))[0, 0]
        for one in samples:
            wanted = fine[:, map_of == one.label].double().mean(1)
            np.testing.assert_allclose(one.features[block], wanted, rtol=2e-3)


def with_map(folder: Path, change) -> list:
    items = [load_dataset(folder)[0]]
    labels = items[0]['data_samples'].gt_sem_seg.data
    change(labels[0])
    return items


def test_small_regions_are_left_out(colour_backbone, folder):
    def change(labels):
        labels[:], labels[:8, :8], labels[20:28, 40:47] = GROUND, 0, 1  # 4 tokens of 4 x 4, and one pixel column less

    items = with_map(folder, change)
    assert [one.label for one in sample(segmentor(colour_backbone), items)] == [0, GROUND]
    assert [one.label for one in sample(segmentor(colour_backbone), items, min_tokens=3)] == [0, 1, GROUND]
    assert [one.label for one in sample(segmentor(colour_backbone), items, min_tokens=5)] == [GROUND]
    # Overlapping crops see a region more often; it grows no larger by that.
    slide = segmentor(colour_backbone, mode='slide', crop_size=(48, 48), stride=(8, 8))
    assert [one.label for one in sample(slide, items)] == [0, GROUND]


def test_ignored_pixels_are_no_region_and_in_none(colour_backbone, folder):
    y1, x1, y2, x2 = REGIONS[0]

    def change(labels):
        labels[y1:y2, x1 : (x1 + x2) // 2] = IGNORED

    items = with_map(folder, change)
    items[0]['inputs'][:, y1:y2, x1 : (x1 + x2) // 2] = 255
    samples = sample(segmentor(colour_backbone), items)
    assert [one.label for one in samples] == [0, 1, 2, 3]
    np.testing.assert_allclose(samples[0].features[0, 1], COLOURS[0], atol=16)


def test_an_image_of_ignored_pixels_gives_no_sample(colour_backbone, folder):
    items = with_map(folder, lambda labels: labels.fill_(IGNORED))
    assert sample(segmentor(colour_backbone), items) == []


def test_the_ignored_label_is_the_decode_heads(colour_backbone, folder):
    model = segmentor(colour_backbone)
    model.decode_head.ignore_index = GROUND
    assert [one.label for one in sample(model, [load_dataset(folder)[0]])] == [0, 1, 2]
    assert [one.label for one in sample(model, [load_dataset(folder)[0]], ignore_index=2)] == [0, 1, 3]


def test_reduce_zero_label_has_been_applied_once(colour_backbone, folder):
    """Class 0 of the files is no class then, and the others move down by one; the meta information says so too."""
    dataset = load_dataset(folder, reduce_zero_label=True)
    assert dataset[0]['data_samples'].reduce_zero_label is True
    samples = sample(segmentor(colour_backbone), [dataset[0]])
    assert [one.label for one in samples] == [0, 1, 2]
    np.testing.assert_allclose(samples[0].features[0, 1], COLOURS[1], atol=16)


def test_settings_come_from_the_model(colour_backbone):
    whole = segmentor(colour_backbone)
    assert RegionSampler.settings_of(whole) == {'ignore_index': 255, 'num_classes': 4}
    slide = segmentor(colour_backbone, mode='slide', crop_size=(64, 96), stride=(40, 48))
    assert RegionSampler.settings_of(slide) == {
        **RegionSampler.settings_of(whole),
        'crop_size': (64, 96),
        'crop_stride': (40, 48),
    }
    slide.decode_head = nn.ModuleList([nn.Identity(), slide.decode_head])
    assert RegionSampler.settings_of(slide)['num_classes'] == 4
    assert RegionSampler.settings_of(nn.Identity()) == {}


@pytest.mark.parametrize('num_classes', [1, 2])
def test_one_sigmoid_channel_means_two_classes(colour_backbone, folder, num_classes):
    """However many classes the config of MMSegmentation's binary head names, its labels are 0 and 1."""
    model = segmentor(colour_backbone)
    head = {'type': 'FCNHead', 'in_channels': 3, 'channels': 3, 'num_convs': 0, 'concat_input': False, 'in_index': 0}
    binary = {'num_classes': num_classes, 'out_channels': 1, 'threshold': 0.5, 'align_corners': False}
    model.decode_head = MODELS.build(ConfigDict({**head, **binary}))
    items = with_map(folder, lambda labels: labels.copy_((labels == 0).to(labels)))
    samples = sample(model, items)
    assert [one.label for one in samples] == [0, 1]
    np.testing.assert_allclose(samples[1].features[0, 1], COLOURS[0], atol=16)
    assert RegionSampler(**RegionSampler.settings_of(model)).scores_one_class
    with pytest.raises(ValueError, match='the model knows 2 classes'):
        sample(model, with_map(folder, lambda labels: None))


def test_every_region_is_counted(colour_backbone, folder):
    def change(labels):
        labels[:4, :4], labels[-2:] = 0, IGNORED
        labels[labels == 1] = GROUND
        labels[4:42, :70] = GROUND
        labels[:4, 4:70] = GROUND

    sampler, model = RegionSampler(), segmentor(colour_backbone)
    for record in (Record(0, 0), RepeatedRecord(0, 0)):
        with FeatureRecorder(model.backbone) as recorder, torch.no_grad():
            outputs = model.val_step(pseudo_collate(with_map(folder, change)))
            samples = sampler(recorder.take(), outputs, [record])
    assert samples == []
    skipped = {'ignore_index': 1, 'repeated image': 4, 'too small': 1}
    assert sampler.counts.as_dict() == {
        'unit': 'regions',
        'images': 2,
        'empty_images': 0,
        'offered': 8,
        'kept': 2,
        'skipped': skipped,
    }


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_gives_the_same_features(folder, colour_backbone, dtype):
    class Low(type(colour_backbone())):
        def record_blocks(self, callback) -> list:
            return super().record_blocks(
                lambda block, tokens: callback(
                    block, BlockTokens(tokens.tokens.to(dtype), tokens.hw_shape, tokens.stride)
                )
            )

    wanted = sample(segmentor(colour_backbone), load_dataset(folder))
    assert_same(sample(segmentor(Low), load_dataset(folder)), wanted, rtol=2e-2)


# Bad input.


def test_missing_ground_truth_is_refused(colour_backbone, folder):
    with pytest.raises(ValueError, match=r'0\.jpg\.png comes without ground truth: .*LoadAnnotations'):
        sample(segmentor(colour_backbone), load_dataset(folder, load=False))


def test_a_map_of_another_size_is_refused(colour_backbone, folder):
    items = [load_dataset(folder, {'scale': (240, 300), 'keep_ratio': True})[0]]
    data = items[0]['data_samples'].gt_sem_seg
    small = data.data[:, ::2, ::2]
    del data.data
    data.data = small
    with pytest.raises(
        ValueError, match=r'0\.jpg\.png is \(45, 60\), the original image is \(90, 120\).*behind Resize'
    ):
        sample(segmentor(colour_backbone), items)


def test_a_colour_coded_map_is_refused(colour_backbone, folder):
    items = [load_dataset(folder)[0]]
    data = items[0]['data_samples'].gt_sem_seg
    coloured = data.data[0][..., None].expand(-1, -1, 3)
    del data.data
    data.data = coloured
    with pytest.raises(ValueError, match=r'is \(90, 120, 3\).*one-channel files'):
        sample(segmentor(colour_backbone), items)


@pytest.mark.parametrize(('label', 'ignored'), [(4, 255), (200, 255), (255, 11), (-1, 255)])
def test_classes_out_of_range_are_refused(colour_backbone, folder, label, ignored):
    items = with_map(folder, lambda labels: labels[:2, :2].fill_(label))
    with pytest.raises(
        ValueError, match=rf'0\.jpg\.png has the labels \[{label}\]; the model knows 4 classes .*ignore_index={ignored}'
    ):
        sample(segmentor(colour_backbone), items, ignore_index=ignored)


def test_crops_of_another_size_are_refused(colour_backbone, folder):
    model = segmentor(colour_backbone, mode='slide', crop_size=(64, 96), stride=(40, 48))
    with pytest.raises(ValueError, match=r'into 9 crops, but the backbone ran 4 times: score without --tta'):
        sample(model, load_dataset(folder), crop_stride=(20, 20))
    with pytest.raises(ValueError, match=r'for a crop of \(52, 80\)'):
        sample(model, load_dataset(folder), crop_size=(52, 80), crop_stride=(60, 60))
    with FeatureRecorder(model.backbone) as recorder, torch.no_grad():
        outputs = model.val_step(pseudo_collate(list(load_dataset(folder))))
        with pytest.raises(ValueError, match=r'ran 4 times for one batch'):
            RegionSampler()(recorder.take(), outputs, [])


@pytest.mark.parametrize(
    ('settings', 'match'),
    [({'min_tokens': 0}, 'min_tokens=0'), ({'crop_size': (64, 64)}, r'crop_stride=None: set both')],
)
def test_bad_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        RegionSampler(**settings)
