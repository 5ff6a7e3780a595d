"""Maps in a file: those of their own curve come back, others do not."""

from __future__ import annotations

import numpy as np
import pytest

from mmsls.features.maps import BACKGROUND, Maps, class_names, curve_hash, gathered_maps
from mmsls.pruning_index import PruningIndex

SWIN = {'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': (2,)}
INDEX = PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.5}, backbone=SWIN, provenance={'order_hash': 'ab'})
LABELS = np.array([3, 0, 3, 0])


def maps():
    planes = {(0, block): np.linspace(0, 1, 8).reshape(4, 2).astype(np.float16) + block for block in range(2)}
    return Maps(planes, LABELS, {0: '红', 3: 'x' * 300})


def test_maps_come_back(tmp_path):
    maps().save(tmp_path / 'maps.npz', INDEX)
    found = Maps.load(tmp_path / 'maps.npz', INDEX.decide(alpha=0.9))
    assert list(found.planes) == [(0, 0), (0, 1)]
    for block, plane in maps().planes.items():
        np.testing.assert_array_equal(found.planes[block], plane)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.names == {0: '红', 3: 'x' * 200}


def test_maps_of_another_curve_are_refused(tmp_path):
    maps().save(tmp_path / 'maps.npz', INDEX)
    other = PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.6}, backbone=SWIN, provenance={'order_hash': 'ab'})
    drawn = PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.5}, backbone=SWIN, provenance={'order_hash': 'ac'})
    assert len({curve_hash(index) for index in (INDEX, other, drawn)}) == 3
    for index in (other, drawn):
        with pytest.raises(ValueError, match='its samples are not those of this curve; score the model anew'):
            Maps.load(tmp_path / 'maps.npz', index)


@pytest.mark.parametrize(
    'change',
    [
        {'labels': LABELS[:3]},
        {'labels': LABELS.astype(float)},
        {'labels': LABELS + 7},
        {'classes': np.array([0])},
        {'names': np.array([1, 2])},
        {'0_1': np.zeros((4, 3), np.float16)},
        {'0_1': np.full((4, 2), np.nan, np.float16)},
        {'0_9': np.zeros((4, 2), np.float16)},
        {'what': np.zeros(3)},
        {'names': np.array([{}, {}], dtype=object)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, change):
    path = tmp_path / 'maps.npz'
    maps().save(path, INDEX)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, **change})
    with pytest.raises(ValueError, match=r'maps\.npz is left out: '):
        Maps.load(path, INDEX)


def test_a_file_that_unpacks_to_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr('mmsls.features.maps.LARGEST', 100)
    maps().save(tmp_path / 'maps.npz', INDEX)
    with pytest.raises(ValueError, match='more than 100 bytes'):
        Maps.load(tmp_path / 'maps.npz', INDEX)
    with pytest.raises(FileNotFoundError):
        Maps.load(tmp_path / 'no.npz', INDEX)


class Data:
    metainfo = {'classes': ('cat', 'dog')}


class Wrapped:
    dataset = Data()


def test_classes_are_named_as_the_data_set_has_them():
    assert class_names(Data(), np.array([1, 1])) == {1: 'dog'}
    assert class_names(Wrapped(), np.array([0, 2, 5])) == {0: 'cat', 2: BACKGROUND, 5: 'class 5'}
    assert class_names(object(), np.array([4])) == {4: 'class 4'}


def test_a_criterion_without_maps_still_has_labels():
    found = gathered_maps(object(), LABELS, Data())
    assert found.planes == {}
    assert found.labels is LABELS
