"""Which other criteria a config asks for."""

from __future__ import annotations

import pytest

from mmsls.criteria import KNN
from mmsls.features.also_settings import settled_also
from mmsls.features.settings import scorer_options


@pytest.mark.parametrize(
    ('also', 'criterion', 'found'),
    [
        (None, 'sls', ('probe', 'ncm')),
        (None, 'probe', ('ncm',)),
        (None, 'bridged', ('probe', 'ncm')),
        (None, 'Taylor', ()),
        (None, 'Magnitude', ()),
        ((), 'sls', ()),
        ('knn', 'sls', ('knn',)),
        ([KNN, {'type': 'Probe', 'folds': 3}], 'sls', (KNN, {'type': 'Probe', 'folds': 3})),
        (['Magnitude', 'sls'], 'SLS', ('Magnitude',)),  # the run's own is there anyway
        (['bridged', 'ncm'], 'bridged', ('ncm',)),
    ],
)
def test_what_is_asked_for(also, criterion, found):
    assert settled_also(also, criterion) == found


@pytest.mark.parametrize(
    ('also', 'criterion', 'told'),
    [
        (['ncm', {'type': 'mmsls.NCM'}], 'sls', 'also: NCM is named twice'),
        (['nope'], 'sls', "also: unknown criterion 'nope'; known: BlockInfluence"),
        ([{'type': 'Probe', 'fold': 3}], 'sls', 'also: .*its arguments are folds'),
        ([{'type': 'Probe', 'folds': 3}], 'probe', 'also: the run is scored by Probe with other settings'),
        (['bridged'], 'sls', 'also: Bridged makes passes of its own.*--criterion bridged --out bridged.json'),
        (['Taylor'], 'sls', 'also: Taylor makes passes of its own'),
        (3, 'sls', 'also is 3; it must be a list of criteria'),
    ],
)
def test_what_cannot_be_had_is_refused(also, criterion, told):
    with pytest.raises(ValueError, match=told):
        settled_also(also, criterion)


def test_settings_of_a_hook_settle_it():
    assert scorer_options({'criterion': 'ncm'}, 'mmseg')['also'] == ('probe',)
    assert scorer_options({'also': ['knn']}, 'mmseg', {'also': []})['also'] == ()
