"""Which record an item is, through every wrapper, sampler and process."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmdet.datasets import ConcatDataset as DetConcatDataset
from mmdet.datasets import MultiImageMixDataset
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.datasets import KFoldDataset
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset
from warm_process import run_scripts

from mmsls.features.leaves import find_leaves
from mmsls.features.records import PassRecords, Record, RepeatedRecord, same_random_state


@DATASETS.register_module(name='ImagesOfRecords')
class Images(BaseDataset):
    """Images that do not exist: whoever loads one fails."""

    def __init__(self, count: int, labels=None, **kwargs) -> None:
        self.count, self.labels = count, labels or [0] * count
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        return [{'img_path': 'same.png', 'width': 1 + index % 2, 'height': 1.5} for index in range(self.count)]

    def get_cat_ids(self, idx: int) -> list[int]:
        return [self.labels[idx]]


class Plain(Dataset):
    """Torch's own kind."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return index


def records_of(dataset, batch_size: int = 3, **settings) -> list[list[Record]]:
    sampler = {} if settings else {'sampler': DefaultSampler(dataset, shuffle=False)}
    loader = DataLoader(dataset, batch_size=settings.pop('batch_size', batch_size), **sampler, **settings)
    found = PassRecords(loader)
    sizes = [len(batch) for batch in loader.batch_sampler]
    return [found.of_batch(number, size) for number, size in enumerate(sizes)]


def flat(batches) -> list[Record]:
    return [record for batch in batches for record in batch]


def new(batches) -> list[tuple[int, int]]:
    return [tuple(record) for record in flat(batches) if not isinstance(record, RepeatedRecord)]


def test_a_plain_data_set_numbers_its_records():
    assert records_of(Images(4)) == [[(0, 0), (0, 1), (0, 2)], [(0, 3)]]
    assert records_of(Plain()) == [[(0, 0), (0, 1), (0, 2)], [(0, 3)]]
    assert flat(records_of(Images(4, lazy_init=True))) == [(0, 0), (0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize('concat', [ConcatDataset, TorchConcatDataset, DetConcatDataset])
def test_parts_stay_distinct_whatever_their_files_are_called(concat):
    assert flat(records_of(concat([Images(2), Images(3)]))) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_repeated_images_count_once():
    assert flat(records_of(RepeatDataset(Images(3), times=2))) == [(0, 0), (0, 1), (0, 2)] * 2
    assert new(records_of(RepeatDataset(Images(3), times=2))) == [(0, 0), (0, 1), (0, 2)]
    balanced = ClassBalancedDataset(Images(4, labels=[0, 0, 0, 1]), oversample_thr=0.9)
    assert len(balanced) > 4
    assert new(records_of(balanced)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    one = Images(3)
    assert new(records_of(TorchConcatDataset([Subset(one, [2, 0]), Subset(one, [1, 2])]))) == [(0, 2), (0, 0), (0, 1)]


def test_subsets_keep_the_records_own_numbers():
    assert flat(records_of(Subset(Images(9), [7, 2]))) == [(0, 7), (0, 2)]
    assert flat(records_of(Images(9, indices=[7, 2]))) == [
        (0, 0),
        (0, 1),
    ]  # MMEngine leaves nothing else in such a data set
    config = {'type': 'ImagesOfRecords', 'count': 6}
    fold = KFoldDataset(config, fold=1, num_splits=3, test_mode=True)
    assert flat(records_of(fold)) == [(0, 0), (0, 1)]
    assert find_leaves(fold)[0].dataset.get_data_info(1)['img_path'] == 'same.png'


def test_wrappers_in_wrappers():
    nested = TorchConcatDataset([RepeatDataset(Images(2), times=2), Images(1)])
    mixed = MultiImageMixDataset(Images(2), [{'type': 'mmcv.RandomFlip', 'prob': 1.0}])
    whole = TorchConcatDataset([Subset(nested, [4, 1, 3]), mixed])
    assert flat(records_of(whole)) == [(1, 0), (0, 1), (0, 1), (2, 0), (2, 1)]
    assert new(records_of(whole)) == [(1, 0), (0, 1), (2, 0), (2, 1)]
    assert len(find_leaves(whole)[2].transforms) == 1


def test_a_runners_loader_with_fewer_batches():
    config = {'batch_size': 2, 'num_workers': 0, 'num_batch_per_epoch': 2, 'dataset': RepeatDataset(Images(3), times=3)}
    loader = Runner.build_dataloader({**config, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}})
    found = PassRecords(loader)
    assert [found.of_batch(number, 2) for number in range(2)] == [[(0, 0), (0, 1)], [(0, 2), (0, 0)]]


def test_shuffled_and_grouped_batches_are_followed():
    dataset = Images(7)
    shuffled = DefaultSampler(dataset, shuffle=True, seed=3)
    assert flat(records_of(dataset, sampler=shuffled)) == [(0, index) for index in shuffled]
    grouped = AspectRatioBatchSampler(DefaultSampler(dataset, shuffle=False), batch_size=2)
    assert records_of(dataset, batch_size=1, batch_sampler=grouped) == [
        [(0, index) for index in batch] for batch in grouped
    ]


def test_an_unknown_wrapper_is_a_data_set_of_its_own(monkeypatch):
    class Odd(Dataset):
        def __init__(self, dataset) -> None:
            self.dataset = dataset

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> dict:
            return self.dataset[(5 * index) % 2]

    said = []
    monkeypatch.setattr('mmsls.features.leaves.print_log', lambda text, *_: said.append(text))
    assert new(records_of(Odd(Images(2)))) == [(0, 0), (0, 1), (0, 2)]
    assert 'Odd is a wrapper of an unknown kind' in said[0]


def test_random_states_stay_as_they_were():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match='RandomSampler draws another order'):
        PassRecords(DataLoader(Plain(), batch_size=2, shuffle=True))
    assert torch.equal(before, torch.get_rng_state())


def test_random_numbers_go_on_as_if_none_had_been_drawn():
    with same_random_state():
        first = np.random.rand(), torch.rand(1).item()
    assert first == (np.random.rand(), torch.rand(1).item())


# Bad input.


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


@pytest.mark.parametrize(
    ('loader', 'match'),
    [
        (lambda: DataLoader(Stream(), batch_size=2), 'Stream is an IterableDataset'),
        (lambda: DataLoader(Plain(), batch_size=2, shuffle=True), 'RandomSampler draws another order each time'),
        (lambda: DataLoader(Plain(), batch_size=2, sampler=InfiniteSampler(Plain())), 'InfiniteSampler draws another'),
        (lambda: DataLoader(Plain(), batch_size=None), 'has no batch_sampler'),
        (lambda: DataLoader(Plain(), sampler=['a', 'b'], batch_size=2), 'list gives no batches of whole numbers'),
        (lambda: [1, 2], 'list has no batch_sampler'),
    ],
    ids=['stream', 'random', 'infinite', 'no batches', 'names', 'list'],
)
def test_an_order_that_cannot_be_known_is_refused_by_name(loader, match):
    with pytest.raises(ValueError, match=match):
        PassRecords(loader())


@pytest.mark.parametrize(('number', 'count'), [(0, 2), (1, 3), (2, 1), (-1, 1)])
def test_a_batch_that_the_sampler_does_not_have_is_refused(number, count):
    found = PassRecords(DataLoader(Plain(), batch_size=3))
    with pytest.raises(ValueError, match=f'returned {count} data samples for batch {number}'):
        found.of_batch(number, count)


WORKER = """
import pickle, sys
import torch.distributed as dist
from torch.utils.data import DataLoader
from mmengine.dataset import DefaultSampler
from mmsls.features.records import PassRecords, RepeatedRecord
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=3)
records = PassRecords(DataLoader(range(4), batch_size=1, sampler=DefaultSampler(range(4), shuffle=False)))
out = [[(tuple(r), isinstance(r, RepeatedRecord)) for r in records.of_batch(n, 1)] for n in range(2)]
open(f'{folder}/{rank}.pkl', 'wb').write(pickle.dumps(out))
dist.barrier()
dist.destroy_process_group()
"""


def test_the_padding_of_three_processes_counts_once(tmp_path):
    """Four images over three processes: two come twice."""
    (tmp_path / 'worker.py').write_text(WORKER)
    commands = [[str(tmp_path / 'worker.py'), str(tmp_path), str(rank)] for rank in range(3)]
    done = run_scripts(commands, [{'GLOO_SOCKET_IFNAME': 'lo'}] * 3)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [one for rank in range(3) for one in flat(pickle.loads((tmp_path / f'{rank}.pkl').read_bytes()))]
    assert sorted(record for record, again in found if not again) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert len(found) == 6
