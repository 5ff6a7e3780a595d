"""Real features of 12 blocks with the scores that the method's author computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from mmsls.scoring import choose_depths, layer_scores
from mmsls.scoring.rule import Rule

ALPHAS = [alpha / 10 for alpha in range(1, 11)]
KEPT = {'imagenet_groups': [7] * 8 + [8] * 2, 'sign_digits_400': [12] * 10}
# Of t-SNE on another processor or with another library version; the golden folder's README names 0.05, and an AMD EPYC
# moves two of the scores by 0.06 and 0.07. There the published procedure itself gives what we give: the test below.
TOLERANCE = 0.1


@pytest.fixture(scope='module', params=sorted(KEPT))
def golden(request, shared: Path):
    with np.load(shared / 'golden' / f'{request.param}.npz') as file:
        blocks = {(0, block): array for block, array in enumerate(file['features'])}
        yield request.param, blocks, file['labels'], {(0, block): float(s) for block, s in enumerate(file['scores'])}


@pytest.fixture(scope='module')
def scored(golden):
    _, blocks, labels, _ = golden
    return layer_scores(blocks, labels)


@pytest.mark.parametrize('block', [6, 8])
def test_the_published_procedure_gives_the_same_here(golden, scored, block):
    _, blocks, labels, _ = golden
    with threadpool_limits(1):
        plane = TSNE(n_components=2, init='pca', random_state=0).fit_transform(blocks[0, block])
        plane = (plane - plane.min(axis=0)) / (plane.max(axis=0) - plane.min(axis=0))
        assert scored[0, block] == float(silhouette_score(plane, labels))


def test_scores_agree(golden, scored):
    stored = golden[3]
    assert list(scored) == list(stored)
    np.testing.assert_allclose(list(scored.values()), list(stored.values()), atol=TOLERANCE, rtol=0)


@pytest.mark.filterwarnings('ignore:block')
def test_decisions_from_the_stored_scores(golden):
    name, _, _, stored = golden
    assert [choose_depths(stored, alpha=alpha) for alpha in ALPHAS] == [(kept,) for kept in KEPT[name]]


@pytest.mark.filterwarnings('ignore:block')
def test_decisions_from_our_scores(golden, scored):
    name, _, _, stored = golden
    if max(abs(scored[block] - stored[block]) for block in stored) > 1e-3:
        pytest.skip('another processor or library version moved the scores, and some lie near their threshold')
    assert [choose_depths(scored, alpha=alpha) for alpha in ALPHAS] == [(kept,) for kept in KEPT[name]]


def test_scores_near_their_threshold_are_marked(shared: Path):
    with np.load(shared / 'golden' / 'imagenet_groups.npz') as file:
        stored = {(0, block): float(score) for block, score in enumerate(file['scores'])}
    assert (0, 6) in Rule(alpha=0.9).decide(stored).borderline  # 0.031 against 0.035: half the decisions hang on it


def test_threads_and_sequence_agree_on_real_features(golden, scored):
    _, blocks, labels, _ = golden
    assert layer_scores(dict(list(blocks.items())[-3:]), labels, n_jobs=1) == {
        block: scored[block] for block in list(blocks)[-3:]
    }
