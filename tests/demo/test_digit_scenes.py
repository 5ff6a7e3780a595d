"""The scene set: what is in it, that it is reproducible, and that mmdet reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsls.demo import digit_scenes
from mmsls.demo.digit_scenes import CLASSES, SceneSettings, encode_rle, make_digit_scenes
from mmsls.demo.digits import load_digit_pools
from mmsls.demo.scene_drawing import BACKGROUND

SMALL = SceneSettings(num_images={'train': 12, 'val': 6, 'test': 6})
SPLITS = ('train', 'val', 'test')


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_digit_scenes(tmp_path_factory.mktemp('scenes') / 'data', SMALL)


def coco(root: Path, split: str) -> dict:
    return json.loads((root / 'annotations' / f'{split}.json').read_text())


def decode_rle(rle: dict) -> np.ndarray:
    values = np.arange(len(rle['counts'])) % 2
    return np.repeat(values, rle['counts']).reshape(rle['size'], order='F').astype(bool)


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_counts(root):
    for split in SPLITS:
        data = coco(root, split)
        assert len(data['images']) == SMALL.num_images[split] == len(list((root / split).glob('*.png')))
        assert [category['name'] for category in data['categories']] == list(CLASSES)
        assert len({annotation['id'] for annotation in data['annotations']}) == len(data['annotations'])
        per_image = np.bincount([annotation['image_id'] for annotation in data['annotations']])
        assert len(per_image) == len(data['images'])
        assert per_image.min() >= 1
        assert per_image.max() <= SMALL.digits_per_image[1]


def test_boxes_are_those_of_the_masks(root):
    for annotation in coco(root, 'train')['annotations']:
        mask = decode_rle(annotation['segmentation'])
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation['bbox']
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert annotation['area'] == mask.sum()
        assert 0 <= x < x + width <= SMALL.image_size[1]
        assert 0 <= y < y + height <= SMALL.image_size[0]


def test_sizes_vary(root):
    heights = [annotation['bbox'][3] for annotation in coco(root, 'train')['annotations']]
    assert max(heights) > 1.3 * min(heights)


def test_semantic_maps_are_the_masks(root):
    data = coco(root, 'val')
    for image in data['images']:
        labels = np.asarray(Image.open(root / 'semantic' / 'val' / image['file_name']))
        expected = np.full(SMALL.image_size, BACKGROUND)
        for annotation in data['annotations']:
            if annotation['image_id'] == image['id']:
                mask = decode_rle(annotation['segmentation'])
                assert (expected[mask] == BACKGROUND).all(), 'masks of one scene meet'
                expected[mask] = annotation['category_id']
        np.testing.assert_array_equal(labels, expected)


def test_labels_are_those_of_the_handwritten_digits(root):
    pools = load_digit_pools()
    for split in SPLITS:
        labels = dict(zip(pools[split].indices.tolist(), pools[split].labels.tolist(), strict=True))
        for annotation in coco(root, split)['annotations']:
            assert labels[annotation['source']] == annotation['category_id']


def test_splits_are_disjoint(root):
    pools = load_digit_pools()
    assert sorted(np.concatenate([pool.indices for pool in pools.values()])) == list(range(1797))
    used = [{annotation['source'] for annotation in coco(root, split)['annotations']} for split in SPLITS]
    assert not used[0] & used[1]
    assert not used[0] & used[2]
    assert not used[1] & used[2]


def test_same_seed_gives_the_same_bytes(root, tmp_path):
    assert digest(make_digit_scenes(tmp_path / 'again', SMALL)) == digest(root)


def test_other_seed_gives_other_bytes(root, tmp_path):
    settings = SceneSettings(num_images=SMALL.num_images, seed=1)
    ours, theirs = digest(make_digit_scenes(tmp_path / 'other', settings)), digest(root)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours)


def test_longer_split_begins_with_the_same_images(root, tmp_path):
    longer = digest(make_digit_scenes(tmp_path / 'longer', SceneSettings(num_images={'val': 7})))
    images = {name: value for name, value in digest(root).items() if name.startswith('val/')}
    assert images.items() <= longer.items()


def test_a_set_that_is_there_is_left_alone(tmp_path, monkeypatch):
    root = make_digit_scenes(tmp_path / 'data', SceneSettings(num_images={'val': 1}))
    monkeypatch.setattr(digit_scenes, '_write_split', lambda *_: pytest.fail('drawn again'))
    assert make_digit_scenes(root, SceneSettings(num_images={'val': 1})) == root


def test_other_settings_replace_a_set(tmp_path):
    root = make_digit_scenes(tmp_path / 'data', SceneSettings(num_images={'val': 3}))
    make_digit_scenes(root, SceneSettings(num_images={'val': 1}))
    assert len(list((root / 'val').iterdir())) == 1


def test_an_interrupted_run_leaves_nothing_and_is_made_good(tmp_path, monkeypatch):
    settings = SceneSettings(num_images={'train': 2, 'val': 2})
    write = digit_scenes._write_split

    def stop_at_val(root, split, *rest):
        write(root, split, *rest)
        if split == 'val':
            (root / 'val' / 'stray.png').touch()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(digit_scenes, '_write_split', stop_at_val)
        with pytest.raises(KeyboardInterrupt):
            make_digit_scenes(tmp_path / 'data', settings)
    assert not (tmp_path / 'data').exists()
    make_digit_scenes(tmp_path / 'data', settings)
    assert digest(tmp_path / 'data') == digest(make_digit_scenes(tmp_path / 'fresh', settings))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'fresh']


def test_a_strange_folder_is_refused(tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(ValueError, match='no scene set'):
        make_digit_scenes(tmp_path, SMALL)
    assert (tmp_path / 'thesis.tex').exists()


@pytest.mark.parametrize(
    ('wrong', 'named'),
    [
        (dict(num_images={}), 'num_images'),
        (dict(num_images={'valid': 3}), 'num_images'),
        (dict(num_images={'val': 0}), 'num_images'),
        (dict(digits_per_image=(0, 2)), 'digits_per_image'),
        (dict(digit_size=(40, 30)), 'digit_size'),
        (dict(image_size=(128, 64)), 'digit_size'),
        (dict(clutter=(-1, 2)), 'clutter'),
    ],
)
def test_wrong_settings_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        SceneSettings(**wrong)


def test_rle_of_full_and_empty_masks():
    assert encode_rle(np.ones((2, 3), bool))['counts'] == [0, 6]
    assert encode_rle(np.zeros((2, 3), bool))['counts'] == [6]


def test_mmdet_reads_boxes_and_masks(root):
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    register_all_modules()
    dataset = DATASETS.build(
        dict(
            type='CocoDataset',
            data_root=str(root),
            metainfo=dict(classes=CLASSES),
            ann_file='annotations/val.json',
            data_prefix=dict(img='val/'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='PackDetInputs'),
            ],
        )
    )
    assert len(dataset) == SMALL.num_images['val']
    annotations = coco(root, 'val')['annotations']
    for number in range(len(dataset)):
        instances = dataset[number]['data_samples'].gt_instances
        expected = [annotation for annotation in annotations if annotation['image_id'] == number]
        assert instances.labels.tolist() == [annotation['category_id'] for annotation in expected]
        masks = np.stack([decode_rle(annotation['segmentation']) for annotation in expected])
        np.testing.assert_array_equal(instances.masks.masks.astype(bool), masks)
        boxes = [[x, y, x + width, y + height] for x, y, width, height in (item['bbox'] for item in expected)]
        assert instances.bboxes.tensor.tolist() == boxes
