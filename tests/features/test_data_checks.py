"""What is known about a data set before anything is run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, Compose, ConcatDataset
from mmengine.runner import Runner
from torch.utils.data import Subset

from mmsls.features.data_checks import check_class_list, check_first_records, unopened_leaves
from mmsls.features.records import same_random_state


def named(classes):
    return SimpleNamespace(metainfo={'classes': classes})


@pytest.mark.parametrize(
    ('classes', 'max_samples', 'match'),
    [
        ('RBC', 2000, r"the text 'RBC', each of whose 3 letters.*classes=\('RBC',\), with the comma"),
        (('RBC',), 2000, r"the one class \('RBC',\); a silhouette needs at least 2"),
        ([], 2000, 'a silhouette needs at least 2'),
        (range(1203), 2000, 'max_samples=2000 leaves fewer than two samples.* 1203 classes.* at least 2406'),
    ],
    ids=['text', 'one', 'none', 'many'],
)
def test_class_lists_that_cannot_be_scored_are_refused(classes, max_samples, match):
    with pytest.raises(ValueError, match=match):
        check_class_list(named(classes), max_samples)


def test_other_class_lists_pass():
    check_class_list(named(('RBC', 'WBC')), 4)
    check_class_list(named(('RBC',)), 2000, one_class=True)
    check_class_list(named(None), 2000)
    check_class_list(SimpleNamespace(), 2000)
    check_class_list(SimpleNamespace(metainfo=None), 2000)


class Records(BaseDataset):
    """Three records, opened on first use as a database is."""

    opened = False

    def load_data_list(self):
        return [{'number': number} for number in range(3)]

    def __getitem__(self, number):
        self.opened = True
        return super().__getitem__(number)


def packed(results):
    sample = SimpleNamespace(metainfo={'number': results['number'], 'drawn': np.random.rand() + torch.rand(1).item()})
    return {'data_samples': sample}


class Looks:
    """Remembers what it was shown, and refuses it."""

    def __init__(self):
        self.seen = []

    def check(self, data_sample):
        self.seen.append(data_sample.metainfo['number'])
        raise ValueError('refused')


@pytest.mark.parametrize('wrapped', [False, True])
def test_the_first_record_is_looked_at_and_nothing_is_left_open(wrapped):
    inner, sampler = Records(pipeline=[packed], test_mode=True), Looks()
    dataset = ConcatDataset([inner, Records(pipeline=[packed])]) if wrapped else inner
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    with pytest.raises(ValueError, match='refused'):
        check_first_records(dataset, sampler)
    assert sampler.seen == [0]
    assert not inner.opened
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_every_part_of_a_data_set_is_looked_at():
    """Parts have pipelines of their own: one may lack what the others bring."""
    parts = [Records(pipeline=[packed], test_mode=True, indices=[number]) for number in range(3)]
    wrapped = Subset(torch.utils.data.ConcatDataset([parts[0], ConcatDataset(parts[1:])]), [0])
    sampler = Looks()
    sampler.check = lambda data_sample: sampler.seen.append(data_sample.metainfo['number'])
    check_first_records(wrapped, sampler)
    assert sampler.seen == [0, 1, 2]
    assert not any(part.opened for part in parts)


def test_a_data_set_cut_to_some_batches_is_looked_at():
    """MMEngine's num_batch_per_epoch wraps it in what answers for it, and cannot be copied."""
    loader = {
        'batch_size': 1,
        'num_batch_per_epoch': 2,
        'dataset': Records(pipeline=[packed], test_mode=True),
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    }
    sampler = Looks()
    with pytest.raises(ValueError, match='refused'):
        check_first_records(Runner.build_dataloader(loader).dataset, sampler)
    assert sampler.seen == [0]


def test_what_cannot_be_looked_at_is_left_to_the_validation():
    def broken(_):
        raise OSError('no such image')

    check_first_records(Records(pipeline=[broken], test_mode=True), Looks())
    check_first_records(
        Records(pipeline=[lambda results: {'data_samples': [results]}], test_mode=True), Looks()
    )  # --tta
    check_first_records(SimpleNamespace(), Looks())
    check_first_records([], Looks())
    check_first_records(Records(pipeline=[packed]), object())
    mixing = SimpleNamespace(dataset=Records(pipeline=[packed]), pipeline=Compose([packed]))
    assert not list(unopened_leaves(mixing))


def test_random_numbers_go_on_as_if_none_had_been_drawn():
    with same_random_state():
        first = np.random.rand(), torch.rand(1).item()
    assert first == (np.random.rand(), torch.rand(1).item())
