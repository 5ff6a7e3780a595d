from __future__ import annotations

import pytest
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset

from mmsls.features.keys import dataset_order, order_hash


class Images(BaseDataset):
    """Images that do not exist: whoever loads one fails."""

    def __init__(self, *names: str, labels=None, **kwargs) -> None:
        self.names, self.labels = names, labels or [0] * len(names)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        return [{'img_path': name} for name in self.names]

    def get_cat_ids(self, idx: int) -> list[int]:
        return [self.labels[idx]]


def test_order_of_a_plain_data_set_is_its_own():
    assert dataset_order(Images('v/b.jpg', 'v//a.jpg', 'v/x/../c.jpg')) == {'v/b.jpg': 0, 'v/a.jpg': 1, 'v/c.jpg': 2}


def test_lazy_data_set_is_initialised():
    assert dataset_order(Images('b.jpg', 'a.jpg', lazy_init=True)) == {'b.jpg': 0, 'a.jpg': 1}


def test_wrappers_are_looked_through():
    first, second = Images('b.jpg', 'a.jpg'), Images('a.jpg', 'c.jpg')
    repeated = RepeatDataset(first, times=3)
    balanced = ClassBalancedDataset(Images('d.jpg', 'e.jpg', labels=[0, 1]), oversample_thr=0.9)
    assert dataset_order(repeated) == {'b.jpg': 0, 'a.jpg': 1}
    assert dataset_order(balanced) == {'d.jpg': 0, 'e.jpg': 1}
    assert dataset_order(ConcatDataset([first, second])) == {'b.jpg': 0, 'a.jpg': 1, 'c.jpg': 2}


def test_unusable_data_sets_are_refused():
    class Pathless(Images):
        def load_data_list(self) -> list[dict]:
            return [{'img': 'pixels'}]

    with pytest.raises(ValueError, match='list has no get_data_info'):
        dataset_order([1, 2])
    with pytest.raises(ValueError, match="Pathless gives no 'img_path' for image 0"):
        dataset_order(Pathless('a'))


def test_order_hash_sees_order_and_number_but_not_the_data_root():
    keys = [('/home/a/coco/val/1.jpg', 0), ('/home/a/coco/val/1.jpg', 1), ('/home/a/coco/val/2.jpg', 0)]
    moved = [(path.replace('/home/a', 'data'), number) for path, number in keys]
    assert order_hash(keys) == order_hash(moved)
    assert len({order_hash(keys), order_hash(keys[::-1]), order_hash(keys[:2])}) == 3
    assert len(order_hash(keys)) == 16
