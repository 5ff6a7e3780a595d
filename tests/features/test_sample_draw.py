from __future__ import annotations

import random

import pytest

from mmsls.features.sample_draw import draw_keys, fill_level, key_rank

RANK = 16476264044036977744


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


def test_rank_is_the_same_in_every_process():
    assert key_rank((0, 1, 3), seed=0) == (RANK, (0, 1, 3))  # pinned: Python's own hash would differ from run to run
    ranks = {key_rank((leaf, 1, number), seed)[0] for leaf in range(2) for number in range(50) for seed in range(4)}
    assert len(ranks) == 400


def test_selection_is_balanced_and_seeded():
    keys = {label: [(0, index, label) for index in range(count)] for label, count in enumerate((100, 3, 50))}
    kept, level = draw_keys(keys, budget=23, seed=0)
    assert level == 10
    assert [len(kept[label]) for label in range(3)] == [10, 3, 10]
    assert kept[1] == sorted(keys[1], key=lambda key: key_rank(key, 0))
    assert set(draw_keys(keys, budget=23, seed=1)[0][0]) != set(kept[0])
    assert draw_keys(keys, budget=23, seed=0, cap=4)[1] == 4


def test_more_classes_than_places_are_refused():
    with pytest.raises(ValueError, match=r'max_samples=3 leaves no sample .* 4 classes'):
        draw_keys({label: [(0, 0, label)] for label in range(4)}, budget=3, seed=0)
