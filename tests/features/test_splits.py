from __future__ import annotations

import pytest

from mmsls.features.splits import reported_split_warning


def cfg(**test):
    return {'test_dataloader': {'dataset': {'data_root': 'data', 'ann_file': 'annotations/test.json', **test}}}


@pytest.mark.parametrize(
    'dataset',
    [
        {'data_root': 'data', 'ann_file': 'annotations/test.json'},
        {'data_root': 'data/', 'ann_file': './annotations/test.json'},
        {'ann_file': 'data/annotations/test.json'},
        {'type': 'RepeatDataset', 'times': 2, 'dataset': {'data_root': 'data', 'ann_file': 'annotations/test.json'}},
    ],
)
def test_the_reported_split_is_recognised_however_it_is_written(dataset):
    assert 'score another split' in reported_split_warning(cfg(), dataset)


@pytest.mark.parametrize(
    'dataset', [{'data_root': 'data', 'ann_file': 'annotations/val.json'}, {'data_root': 'other'}, {}, None]
)
def test_another_split_is_fine(dataset):
    assert reported_split_warning(cfg(), dataset) is None


def test_the_parts_of_a_concatenation_are_compared():
    parts = [{'data_root': 'VOC2007', 'ann_file': 'test.txt'}, {'data_root': 'VOC2012', 'ann_file': 'test.txt'}]
    whole = {'test_dataloader': {'dataset': {'type': 'ConcatDataset', 'datasets': parts}}}
    assert reported_split_warning(whole, {'dataset': {'datasets': parts}}) is not None
    assert reported_split_warning(whole, parts[0]) is None


@pytest.mark.parametrize('key', ['data_prefix', 'split'])
def test_mmpretrain_names_splits_by_plain_strings(key):
    test = {'test_dataloader': {'dataset': {'data_root': 'data', key: 'test'}}}
    assert reported_split_warning(test, {'data_root': 'data', key: 'test'}) is not None
    assert reported_split_warning(test, {'data_root': 'data', key: 'train'}) is None


def test_without_a_test_set_nothing_is_reported():
    assert reported_split_warning({}, {'ann_file': 'a.json'}) is None
    assert reported_split_warning({'test_dataloader': None}, {'ann_file': 'a.json'}) is None


def test_image_folders_tell_splits_apart_where_there_are_no_annotations():
    test = cfg(ann_file='', data_prefix={'img_path': 'img/test', 'seg_map_path': 'ann/test'})
    same = {'data_root': 'data', 'data_prefix': {'img_path': 'img/test', 'seg_map_path': 'ann/test'}}
    assert reported_split_warning(test, same) is not None
    assert (
        reported_split_warning(test, {**same, 'data_prefix': {'img_path': 'img/val', 'seg_map_path': 'ann/val'}})
        is None
    )
