from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from warm_process import run_scripts

from mmsls.features import FeatureBank, Sample, order_hash
from mmsls.features.sample_draw import draw_keys

WORKER = Path(__file__).with_name('gather_worker.py')


def feature_of(record: int, number: int) -> np.ndarray:
    return np.array([record, number, hash(number) % 7], dtype=np.float32)


def make_samples(counts: dict[int, int], seed: int = 0) -> list[Sample]:
    """Return samples of the given classes, spread over images and shuffled."""
    rng = random.Random(seed)
    labels = [label for label, count in counts.items() for _ in range(count)]
    rng.shuffle(labels)
    samples = []
    for index, label in enumerate(labels):
        record, number = index // 3, index % 3
        rows = {(0, 0): feature_of(record, number), (0, 1): np.full(2, index)}
        samples.append(Sample((0, record, number), label, rows))
    rng.shuffle(samples)
    return samples


def fill(samples: list[Sample], batch: int, **kwargs) -> FeatureBank:
    bank = FeatureBank(**kwargs)
    for start in range(0, len(samples), batch):
        bank.add(samples[start : start + batch])
    return bank


def test_nothing_is_dropped_up_to_the_bound():
    samples = make_samples({0: 60, 1: 3, 2: 37})
    bank = fill(samples, 7, max_samples=100)
    features, labels, keys = bank.to_arrays()
    assert keys == sorted(sample.key for sample in samples)
    assert np.bincount(labels).tolist() == [60, 3, 37]
    for block, width in ((0, 0), 3), ((0, 1), 2):
        assert features[block].shape == (100, width)
        assert features[block].dtype == np.float32
        assert features[block].flags.c_contiguous
    by_key = {sample.key: sample for sample in samples}
    assert all((features[0, 0][row] == by_key[key].features[0, 0]).all() for row, key in enumerate(keys))
    assert labels.tolist() == [by_key[key].label for key in keys]
    assert labels.dtype == np.int64


def test_choice_depends_on_data_and_seed_alone():
    rng = random.Random(1)
    for trial in range(60):
        counts = {label: rng.randint(1, 60) for label in range(rng.randint(1, 6))}
        budget = rng.randint(len(counts), 60)
        samples = make_samples(counts, trial)
        by_class = {label: [s.key for s in samples if s.label == label] for label in counts}
        wanted = {key for keys in draw_keys(by_class, budget=budget, seed=trial)[0].values() for key in keys}
        for _ in range(3):
            rng.shuffle(samples)
            padded = samples + rng.sample(samples, min(5, len(samples)))
            bank = fill(padded, rng.randint(1, 30), max_samples=budget, seed=trial)
            assert set(bank.to_arrays()[2]) == wanted


def test_level_is_remembered_when_a_trim_leaves_room():
    # Three classes share 10 places: 3 each. After the trim to 9 one place looks free, and must not be given away.
    samples = make_samples({0: 6, 1: 4, 2: 4})
    late = next(sample for sample in samples if sample.label == 0)
    bank = FeatureBank(max_samples=10)
    bank.add(sample for sample in samples if sample is not late)
    assert len(bank) == 9
    bank.add([late])
    assert np.bincount(bank.to_arrays()[1]).tolist() == [3, 3, 3]


def test_memory_is_bounded_at_every_step():
    bank, batch = FeatureBank(max_samples=40), 16
    samples = make_samples(dict.fromkeys(range(5), 200))
    for start in range(0, len(samples), batch):
        bank.add(samples[start : start + batch])
        assert len(bank) <= 1.25 * 40 + batch
    assert len(bank.to_arrays()[1]) == 40


def test_rows_do_not_keep_the_features_of_their_image_alive():
    rows = np.ones((500, 4), dtype=np.float32)
    bank = FeatureBank(max_samples=10)
    bank.add([Sample((0, 0, 0), 0, {(0, 0): rows[0]})])
    (stored,) = bank._entries[0].values()
    assert stored[0, 0].base is None
    rows[:] = 7  # nor change with them
    assert (stored[0, 0] == 1).all()


def test_equal_keys_count_once():
    bank = FeatureBank()
    row = {(0, 0): np.ones(2, np.float32)}
    bank.add(
        [Sample((0, 7, 0), 1, row), Sample((0, 7, 0), 1, row), Sample((0, 7, 1), 1, row), Sample((1, 7, 0), 1, row)]
    )
    assert len(bank) == 3
    assert bank.to_arrays()[2] == [(0, 7, 0), (0, 7, 1), (1, 7, 0)]


def test_rows_follow_the_data_set():
    samples = make_samples({0: 40})
    keys = fill(samples, 4, max_samples=50).to_arrays()[2]
    assert keys == [(0, index // 3, index % 3) for index in range(40)]
    assert order_hash(keys) != order_hash(keys[::-1])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match='max_samples=0'):
        FeatureBank(max_samples=0)
    with pytest.raises(ValueError, match='bank is empty'):
        FeatureBank().to_arrays()
    with pytest.raises(ValueError, match=r'max_samples=4 .* 5 classes'):
        fill(make_samples(dict.fromkeys(range(5), 1)), 2, max_samples=4).to_arrays()
    bank = FeatureBank()
    bank.add([Sample((0, 0, 0), 0, {(0, 0): np.ones(2)}), Sample((0, 0, 1), 0, {(0, 1): np.ones(2)})])
    with pytest.raises(ValueError, match='differ in their blocks'):
        bank.to_arrays()


def split_cases() -> list[tuple[int, list[list[Sample]]]]:
    """Return (max_samples, shares of two processes), uneven and overlapping, since distributed samplers pad."""
    many = make_samples({0: 120, 1: 15, 2: 60})
    shares = [many[:80], many[70:] + many[:3]]
    # One process trims to 3 per class, 9 in all, and must not give the tenth place to what the other one brings.
    few = make_samples({0: 6, 1: 4, 2: 4})
    late = next(sample for sample in few if sample.label == 0)
    return [(1000, shares), (50, shares), (10, [[s for s in few if s is not late], [late]]), (10, [[], few])]


def test_two_processes_keep_what_one_keeps(tmp_path):
    cases = split_cases()
    (tmp_path / 'cases.pkl').write_bytes(pickle.dumps(cases))
    commands = [[str(WORKER), str(tmp_path), str(rank)] for rank in range(2)]
    done = run_scripts(commands, [{'GLOO_SOCKET_IFNAME': 'lo'}] * 2)
    assert done.returncode == 0, done.stderr[-3000:]
    results = [pickle.loads((tmp_path / f'{rank}.pkl').read_bytes()) for rank in range(2)]
    for index, (max_samples, shares) in enumerate(cases):
        features, labels, keys = fill([*shares[1], *shares[0]], 11, max_samples=max_samples).to_arrays()
        for result in results:
            other_features, other_labels, other_keys = result[index]
            assert other_keys == keys
            assert (other_labels == labels).all()
            assert all((other_features[block] == features[block]).all() for block in features)
