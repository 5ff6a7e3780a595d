from __future__ import annotations

import random

import pytest

from mmsls.features.selection import fill_level, key_rank, select_keys

RANK = 5093358228065309649


def test_fill_level_against_brute_force():
    rng = random.Random(0)
    for _ in range(300):
        counts = [rng.randint(0, 12) for _ in range(rng.randint(1, 6))]
        budget = rng.randint(1, 60)
        level = fill_level(counts, budget)
        if level is None:
            assert sum(counts) <= budget
        else:
            assert sum(min(count, level) for count in counts) <= budget
            assert sum(min(count, level + 1) for count in counts) > budget


def test_rank_is_the_same_in_every_process_and_place():
    rank = key_rank(('coco/val/1.jpg', 3), seed=0)
    assert rank == (RANK, ('coco/val/1.jpg', 3))  # pinned: Python's own hash would differ from run to run
    assert key_rank(('/data/coco/val/1.jpg', 3), seed=0)[0] == RANK
    assert len({key_rank(('1.jpg', number), seed)[0] for number in range(50) for seed in range(4)}) == 200


def test_selection_is_balanced_and_seeded():
    keys = {label: [(f'{index}.jpg', label) for index in range(count)] for label, count in enumerate((100, 3, 50))}
    kept, level = select_keys(keys, budget=23, seed=0)
    assert level == 10
    assert [len(kept[label]) for label in range(3)] == [10, 3, 10]
    assert kept[1] == sorted(keys[1], key=lambda key: key_rank(key, 0))
    assert set(select_keys(keys, budget=23, seed=1)[0][0]) != set(kept[0])
    assert select_keys(keys, budget=23, seed=0, cap=4)[1] == 4


def test_more_classes_than_places_are_refused():
    with pytest.raises(ValueError, match=r'max_samples=3 leaves no sample .* 4 classes'):
        select_keys({label: [('a.jpg', label)] for label in range(4)}, budget=3, seed=0)
