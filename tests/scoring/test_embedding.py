"""Checks of the features and the embedding, on blobs with a known answer."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mmsls.scoring.embedding import MAX_SPREAD, MIN_SPREAD, check_features, embed

BLOCK = (2, 5)


@pytest.fixture(autouse=True)
def _one_thread():
    """As in `layer_scores`; OpenMP's threads also spin, which costs minutes on a busy machine."""
    with threadpool_limits(1):
        yield


def blobs(samples: int = 40, width: int = 8) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(samples, width))
    return noise + 20 * (np.arange(samples) % 2)[:, None]


def test_embedding_fills_the_unit_square_and_keeps_blobs_apart():
    plane = embed(blobs())
    assert plane.dtype == np.float32
    assert plane.min(axis=0).tolist() == [0, 0]
    assert plane.max(axis=0).tolist() == [1, 1]
    even, odd = plane[::2], plane[1::2]
    between = np.linalg.norm(even[:, None] - odd[None], axis=-1)
    within = np.linalg.norm(even[:, None] - even[None], axis=-1)
    assert between.min() > np.median(within)


def test_float64_and_strided_input_give_the_same_as_contiguous_float32():
    features = blobs().astype(np.float32)
    wide = np.zeros((40, 16), np.float64)
    wide[:, ::2] = features
    np.testing.assert_array_equal(embed(wide[:, ::2]), embed(features))
    np.testing.assert_array_equal(embed(np.asfortranarray(features)), embed(features))


def test_input_is_not_changed():
    features = blobs().astype(np.float32)
    before = features.copy()
    embed(features)
    np.testing.assert_array_equal(features, before)


def test_perplexity_is_capped_for_few_samples():
    features = blobs(10)
    np.testing.assert_array_equal(embed(features, perplexity=30), embed(features, perplexity=3))
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(embed(features, perplexity=30), embed(features, perplexity=2))


@pytest.mark.parametrize('perplexity', [0, -1, float('nan'), float('inf'), '30', None, True])
def test_wrong_perplexity_is_named(perplexity):
    with pytest.raises(ValueError, match='perplexity is'):
        embed(blobs(), perplexity=perplexity)


def test_an_axis_without_extent_is_zero_and_not_nan():
    features = np.zeros((40, 8))
    features[0, 0] = 1
    plane = embed(features)
    assert np.isfinite(plane).all()


@pytest.mark.parametrize(
    ('features', 'message'),
    [
        (np.zeros((20, 4)), 'same features'),
        (np.full((20, 4), 1e6), 'same features'),
        (blobs() * 1e-30, 'same features'),
        (1 + blobs() * 1e-9, 'same features'),
        (blobs() * 1e20, 'too large'),
        (blobs() * 1e40, r'40 of 40 samples have NaN or infinite'),
        (np.where(np.arange(40)[:, None] == 7, np.nan, blobs()), r'1 of 40 samples have NaN or infinite.*sample 7'),
        (np.where(np.arange(40)[:, None] == 7, np.inf, blobs()), r'1 of 40 samples have NaN or infinite.*sample 7'),
        (blobs(9), r'shape \(9, 8\).*10 samples'),
        (blobs(40, 1), r'shape \(40, 1\).*2 features'),
        (blobs()[:, 0], r'shape \(40,\)'),
        (blobs()[None], r'shape \(1, 40, 8\)'),
        (blobs() * 1j, 'type complex'),
        ([['a', 'b']] * 20, 'real numbers'),
    ],
)
def test_bad_features_name_the_block_and_the_reason(features, message):
    with pytest.raises(ValueError, match=rf'^block \(2, 5\): .*{message}'):
        check_features(features, block=BLOCK)


def test_constant_columns_beside_a_varying_one_are_fine():
    features = np.full((40, 8), 1e3)
    features[:, 3] += blobs()[:, 0]
    assert check_features(features).flags.c_contiguous


# What the guard lets through must never end the process. Each case runs scikit-learn in a process of its own, on the
# brink of the guard.
BRINK = """
import numpy as np
from mmsls.scoring.embedding import embed
rng = np.random.default_rng(0)
noise = rng.normal(size=(30, 6))
sparse = np.zeros((30, 6)); sparse[0, 0] = 1
single = noise * (np.arange(6) == 3)
for shape in (noise, sparse, single, np.repeat(noise[:2], 15, axis=0)):
    x = {offset} + {scale} * 1.01 * shape / np.ptp(shape, axis=0).max()
    print(np.isfinite(embed(x)).all())
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    env = {'OMP_NUM_THREADS': '1', 'PYTHONPATH': ':'.join(filter(None, sys.path))}
    command = [sys.executable, '-c', code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


@pytest.mark.parametrize(
    ('scale', 'offset'),
    [(MIN_SPREAD, 0), (MAX_SPREAD / 1.02, 0), (1.1e-6, 1), (1.1, 1e6)],
    ids=['least spread', 'most spread', 'least spread on 1', 'least spread on 1e6'],
)
def test_features_at_the_brink_of_the_guard_do_not_crash(scale, offset):
    run = run_python(BRINK.format(scale=scale, offset=offset))
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ['True'] * 4


def test_scikit_learn_crashes_where_the_guard_refuses():
    """The reason for the guard; should a later scikit-learn raise by itself, the guard still says it better."""
    run = run_python(
        'import numpy as np; from sklearn.manifold import TSNE\n'
        'try: TSNE(init="pca", perplexity=5).fit_transform(np.zeros((40, 8), np.float32))\n'
        'except ValueError: print("refused")'
    )
    if run.returncode == 0:
        pytest.skip(f'this scikit-learn does not crash on constant features ({run.stdout.strip() or "embeds them"})')
    assert run.returncode < 0  # ended by a signal
