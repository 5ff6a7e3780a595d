from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from mmsls.registry import DATASETS
from mmsls.vtab.dataset import VTAB1k


@pytest.fixture
def root(tmp_path):
    """The lists of one task, eleven images of two classes."""
    folder = tmp_path / 'digits' / 'images'
    folder.mkdir(parents=True)
    names = [f'{number} a.png' for number in range(11)]
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))
    lines = [f'images/{name} {number % 2}' for number, name in enumerate(names)]
    (tmp_path / 'digits' / 'train800.txt').write_text('\n'.join(lines) + '\n\n')
    return tmp_path


def build(root, ann_file='train800.txt', task='digits'):
    return DATASETS.build({'type': 'mmsls.VTAB1k', 'data_root': str(root), 'task': task, 'ann_file': ann_file})


def edit(root, *lines):
    path = root / 'digits' / 'train800.txt'
    path.write_text(path.read_text() + '\n'.join(lines))


def test_images_and_labels_in_the_lists_order(root):
    data = build(root)
    assert isinstance(data, VTAB1k)
    assert len(data) == 11
    assert data.get_data_info(3)['gt_label'] == 1
    assert data.get_data_info(3)['img_path'].endswith('digits/images/3 a.png')
    assert len(data.metainfo['classes']) == 10


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'task': 'nothing'}, r"task: no task is called 'nothing'.*Known"),
        ({'ann_file': 'train.txt'}, r"ann_file must be one of .*train800\.txt.*'train\.txt'"),
    ],
)
def test_an_unknown_task_or_list_is_refused(root, arguments, said):
    with pytest.raises(ValueError, match=said):
        build(root, **arguments)


def test_a_missing_list_is_refused(root):
    with pytest.raises(FileNotFoundError, match=r"'digits': no list at .*test\.txt.*data_root"):
        build(root, 'test.txt')


def test_missing_images_are_counted_and_named(root):
    edit(root, *(f'images/gone{number}.png 0' for number in range(5)))
    with pytest.raises(FileNotFoundError, match=r'5 of 16 images are missing: .*gone0\.png, .*gone2\.png, \.\.\.$'):
        build(root)


def test_empty_files_are_counted_and_named(root):
    path = root / 'digits' / 'images' / 'empty.png'
    path.write_bytes(b'')
    edit(root, 'images/empty.png 0')
    with pytest.raises(FileNotFoundError, match=r'1 of 12 images are empty files: .*empty\.png$'):
        build(root)


def test_a_training_list_of_one_class_is_refused(root):
    lists = root / 'digits' / 'train800.txt'
    lines = [f'{line.rpartition(" ")[0]} 3' for line in lists.read_text().split('\n') if line]
    lists.write_text('\n'.join(lines))
    with pytest.raises(ValueError, match=r'train800\.txt: all images are of class 3'):
        build(root)


@pytest.mark.parametrize('label', [-1, 10, 700])
def test_labels_out_of_range_are_refused(root, label):
    edit(root, f'images/0 a.png {label}')
    with pytest.raises(ValueError, match=rf'labels \[{label}\] are out of range.*10 classes.*0 to 9'):
        build(root)


@pytest.mark.parametrize('line', ['images/only.png', '7', 'images/0.png seven', 'images/0.png 1.5', 'images/0.png ²'])
def test_a_line_that_is_no_path_and_label_is_refused(root, line):
    edit(root, line)
    with pytest.raises(ValueError, match=r'line 13: .*"relative/path label"'):
        build(root)


@pytest.mark.parametrize('name', ['../other/0.png', '/etc/passwd', 'images/../../x.png', 'images/\0.png', 'x' * 5000])
def test_a_path_that_leaves_the_folder_is_refused(root, name):
    edit(root, f'{name} 0')
    with pytest.raises(ValueError, match=r'train800\.txt, line 13: .* is no path inside the folder of the task'):
        build(root)


@pytest.mark.parametrize('text', [b'\xff\xfe1 2', b'images/0.png ' + b'9' * 10_000])
def test_a_list_that_is_no_text_or_number_is_refused(root, text):
    (root / 'digits' / 'train800.txt').write_bytes(text)
    with pytest.raises(ValueError, match=r'train800\.txt'):
        build(root)


def test_an_empty_list_is_refused(root):
    (root / 'digits' / 'val200.txt').write_text('\n')
    with pytest.raises(ValueError, match='empty'):
        build(root, 'val200.txt')


def test_the_hosts_own_data_set_reads_the_same(root):
    from mmpretrain.datasets import CustomDataset

    lists = root / 'digits' / 'train800.txt'
    lists.write_text(lists.read_text().strip())  # it takes no empty line
    cfg = {'type': 'mmsls.VTAB1k', 'data_root': str(root), 'task': 'digits', 'ann_file': 'train800.txt', 'pipeline': []}
    theirs = VTAB1k.as_host_dataset(cfg)
    assert theirs.pop('type') == 'CustomDataset'
    ours, theirs = build(root), CustomDataset(**theirs)
    assert [ours.get_data_info(i)['img_path'] for i in range(len(ours))] == [
        theirs.get_data_info(i)['img_path'] for i in range(len(theirs))
    ]
    assert [ours.get_data_info(i)['gt_label'] for i in range(len(ours))] == list(theirs.get_gt_labels())
    assert list(theirs.metainfo['classes']) == list(ours.metainfo['classes'])


def test_a_class_with_one_image_warns(root, monkeypatch):
    said = []
    monkeypatch.setattr('mmsls.vtab.dataset.print_log', lambda text, logger, level: said.append((text, level)))
    build(root)
    assert said == []
    edit(root, 'images/0 a.png 5')
    build(root)
    assert '1 classes have one image only (first: [5])' in said[0][0]
    assert said[0][1] == logging.WARNING


def test_a_task_of_ones_own_has_the_classes_of_its_lists(root):
    (root / 'digits').rename(root / 'leaves')
    lists = root / 'leaves' / 'train800.txt'
    (root / 'leaves' / 'train800val200.txt').write_text(lists.read_text())
    assert build(root, task='leaves').metainfo['classes'] == ('0', '1')
    cfg = {'type': 'mmsls.VTAB1k', 'data_root': str(root), 'task': 'leaves', 'ann_file': 'train800.txt'}
    assert VTAB1k.as_host_dataset(cfg)['metainfo']['classes'] == ['0', '1']
    lists.write_text(f'{lists.read_text()}\nimages/0 a.png 2')
    with pytest.raises(ValueError, match=r"labels \[2\] are out of range: 'leaves' has 2 classes"):
        build(root, task='leaves')


@pytest.mark.parametrize(('ann_file', 'count'), [('train800val200.txt', 1000), ('test.txt', 1062)])
def test_the_real_task(shared, ann_file, count):
    data = build(shared / 'data', ann_file, 'sign_digits')
    assert len(data) == count
    assert {data.get_data_info(number)['gt_label'] for number in range(count)} == set(range(10))
