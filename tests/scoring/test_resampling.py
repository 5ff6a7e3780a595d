"""Curves of other samples: their spread is the standard error that is known on paper."""

from __future__ import annotations

import numpy as np
import pytest

from mmsls.scoring.resampling import bootstraps, half_samples, of_half_samples

BLOCKS = [(0, 0), (0, 1), (0, 2)]


def right(shares, samples, seed=0):
    """Hits per block, (blocks, samples), each sample as hard as it likes for every block."""
    return np.random.default_rng(seed).random((len(shares), samples)) < np.array(shares)[:, None]


def paired(hits, best, block):
    """The standard error of a drop in accuracy, in points, by the textbook."""
    return 100 * np.std(hits[best].astype(float) - hits[block], ddof=1) / np.sqrt(hits.shape[1])


def on_halves(hits, rounds, most):
    size = hits.shape[1]
    parts = half_samples(size, rounds, most)
    points = [[100 * block[part].mean() for block in hits] for part in parts]
    return of_half_samples(BLOCKS, 100 * hits.mean(axis=1), points, len(parts[0]), size)


@pytest.mark.parametrize(('samples', 'most'), [(200, 500), (201, 500), (11, 500), (300, 40)])
def test_halves_and_smaller_parts_give_the_standard_error_of_a_mean(samples, most):
    """Whatever the share of the images that is drawn, the spread is the one of as many other images."""
    hits = right([0.5, 0.7, 0.9], samples)
    ((low, middle, top),) = on_halves(hits, 4000, most).drop_errors('model')
    assert [low, middle] == pytest.approx([paired(hits, 2, 0), paired(hits, 2, 1)], rel=0.05)
    assert top == 0


def test_bootstraps_give_it_too():
    hits = right([0.5, 0.7, 0.9], 200)
    found = bootstraps(dict(zip(BLOCKS, hits, strict=True)), rounds=4000)
    ((low, middle, top),) = found.drop_errors('model')
    assert [low, middle] == pytest.approx([paired(hits, 2, 0), paired(hits, 2, 1)], rel=0.05)
    assert top == 0


def test_a_single_accuracy_spreads_as_a_binomial():
    """Against a block that is always right, a drop is an accuracy."""
    hits = np.stack([right([0.8], 400)[0], np.ones(400, dtype=bool), np.zeros(400, dtype=bool)])
    share = hits[0].mean()
    ((error, best, never),) = on_halves(hits, 4000, 500).drop_errors('model')
    assert error == pytest.approx(100 * np.sqrt(share * (1 - share) / 400), rel=0.05)
    assert (best, never) == (0, 0)


def test_what_a_metric_gains_on_few_images_is_no_error():
    rng = np.random.default_rng(0)
    parts = np.array([50.0, 60.0]) + rng.normal(0, 1, (50, 2))
    plain = of_half_samples([(0, 0), (0, 1)], [50.0, 60.0], parts, 50, 100)
    gained = of_half_samples([(0, 0), (0, 1)], [50.0, 60.0], parts + np.array([3.0, 5.0]), 50, 100)
    assert np.allclose(plain.others, gained.others)
    assert plain.others.mean(axis=0) == pytest.approx([50, 60])
    assert plain.drop_errors('model')[0][0] == pytest.approx(np.diff(parts).std(ddof=1), abs=0.01)


def test_blocks_that_miss_the_same_samples_differ_for_sure():
    hits = right([0.5], 60)[0]
    found = on_halves(np.stack([hits, hits, np.zeros(60, dtype=bool)]), 50, 500)
    ((low, same, never),) = found.drop_errors('model')
    assert low == same == 0 < never


def test_each_stage_is_compared_with_its_own_best():
    hits = right([0.6, 0.9, 0.8, 0.7], 100)
    found = bootstraps(dict(zip([(0, 0), (0, 1), (1, 0), (1, 1)], hits, strict=True)))
    (_, first), (second, third) = found.drop_errors('stage')
    assert (first, second) == (0, 0)
    assert third == pytest.approx(paired(hits, 2, 3), rel=0.15)
    assert found.drop_errors('model')[1][0] > 0


def test_halves_are_drawn_without_replacement_and_fewer_are_the_first_of_more():
    parts = half_samples(9, 30, 500)
    assert all(len(set(part)) == 4 and part == sorted(part) and 0 <= min(part) <= max(part) < 9 for part in parts)
    assert len({tuple(part) for part in parts}) > 20
    assert half_samples(9, 5, 500) == parts[:5] != half_samples(9, 5, 500, seed=1)
    assert {len(part) for part in half_samples(9, 5, 2)} == {2}


def test_points_stay_points_and_rounds_are_named():
    halves = of_half_samples([(0, 0)], [1.0], [[0.0], [9.0]], kept=1, size=3)
    assert halves.others.min() == 0
    assert halves.drawn == 'half-samples'
    assert of_half_samples([(0, 0)], [1.0], [[0.0], [1.0]], kept=500, size=5000).drawn == 'parts of 500 images'
    assert bootstraps({(0, 0): np.ones(7)}, 3).others.tolist() == [[100.0]] * 3
