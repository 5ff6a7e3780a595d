"""Which index file stays when a run ends."""

from __future__ import annotations

import pytest

from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.keeping import copy_index, set_stale_index_aside, write_index

SWIN = {'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': (2,)}


def index_of(split):
    return PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.5}, backbone=SWIN, provenance={'split': split})


@pytest.mark.parametrize(
    ('stored', 'ours', 'left'),
    [('val', 'test', 'val'), ('test', 'val', 'val'), ('val', 'val', 'val'), (None, 'test', 'test')],
)
def test_a_test_replaces_no_index_of_another_split(tmp_path, stored, ours, left):
    path = tmp_path / 'index.json'
    if stored is not None:
        index_of(stored).save(path)
    write_index(index_of(ours), path)
    assert PruningIndex.load(path).provenance['split'] == left


def test_what_cannot_be_read_is_replaced(tmp_path):
    path = tmp_path / 'index.json'
    path.write_text('{')
    write_index(index_of('test'), path)
    assert PruningIndex.load(path).provenance['split'] == 'test'


def test_a_copy_takes_its_maps_along(tmp_path):
    index_of('val').save(tmp_path / 'one/pruning_index.json')
    copy_index(tmp_path / 'one/pruning_index.json', tmp_path / 'pruning_index.json')
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ['pruning_index.json']
    (tmp_path / 'one/maps.npz').write_bytes(b'maps')
    copy_index(tmp_path / 'one/pruning_index.json', tmp_path / 'chosen.json')
    assert (tmp_path / 'chosen.maps.npz').read_bytes() == b'maps'


def test_a_stale_index_is_renamed_once(tmp_path):
    path = tmp_path / 'index.json'
    path.write_text('earlier')
    for _ in range(2):
        set_stale_index_aside(path)
    assert [file.name for file in tmp_path.iterdir()] == ['index.earlier.json']
    assert (tmp_path / 'index.earlier.json').read_text() == 'earlier'


def test_what_a_test_made_of_training_images_replaces_none_either(tmp_path):
    path = tmp_path / 'index.json'
    index_of('train').save(path)
    before = path.read_text()
    other = PruningIndex.create(scores={(0, 0): 0.2, (0, 1): 0.5}, backbone=SWIN, provenance={'split': 'train'})
    write_index(other, path, 'test')
    assert path.read_text() == before
    write_index(other, path, 'val')
    assert path.read_text() != before
