"""What an index says of its data set and of the versions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmsls.features.provenance import describe_dataset, versions


class Images:
    def __init__(self, **settings):
        vars(self).update(settings)


@pytest.mark.parametrize(
    ('dataset', 'said'),
    [
        (Images(ann_file='/data/annotations/val.json'), 'Images(val.json)'),
        (Images(ann_file='', data_prefix={'img_path': '/data/img/val'}), 'Images(val)'),
        (Images(), 'Images'),
        (SimpleNamespace(dataset=SimpleNamespace(dataset=Images(ann_file='a.json'))), 'Images(a.json)'),
    ],
    ids=['annotations', 'folder', 'neither', 'wrapped'],
)
def test_a_data_set_is_named_without_its_place(dataset, said):
    assert describe_dataset(dataset) == said


def test_what_may_move_a_score_is_named():
    assert set(versions()) == {'python', 'torch', 'numpy', 'scipy', 'scikit-learn'}
