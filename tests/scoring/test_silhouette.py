"""Scores of blobs with a known answer, equality of threads and sequence, refusals."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_info, threadpool_limits

from mmsls.scoring import layer_scores
from mmsls.scoring.silhouette import check_labels


def classes(samples: int = 60, kinds: int = 3) -> np.ndarray:
    return np.arange(samples) % kinds


def features(*separations: float, samples: int = 60) -> dict[tuple[int, int], np.ndarray]:
    """Three classes around corners of a simplex, `separation` standard deviations from its centre, one block each."""
    rng = np.random.default_rng(0)
    corners = np.eye(3, 16)[classes(samples)]
    return {
        (0, block): (rng.normal(size=(samples, 16)) + separation * corners).astype(np.float32)
        for block, separation in enumerate(separations)
    }


def test_scores_rise_with_the_separation_of_the_classes():
    scores = list(layer_scores(features(0, 4, 30), classes()).values())
    assert abs(scores[0]) < 0.1
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] > 0.7


def test_classes_that_overlap_wrongly_score_below_zero():
    blocks = features(30)
    wrong = np.arange(60) // 20  # cuts across the true classes
    assert layer_scores(blocks, wrong)[0, 0] < 0.05


def test_who_looks_at_the_planes_changes_no_score():
    planes = {}
    blocks = features(0, 4)
    seen = layer_scores(blocks, classes(), on_plane=planes.__setitem__)
    assert seen == layer_scores(blocks, classes())
    for block, plane in planes.items():
        assert float(silhouette_score(plane, classes())) == seen[block]


def test_threads_and_sequence_agree_to_the_last_bit():
    blocks = features(0, 1, 4, samples=90)
    labels = classes(90)
    sequence = layer_scores(blocks, labels, n_jobs=1)
    assert layer_scores(blocks, labels, n_jobs=3) == sequence
    assert layer_scores({(0, 2): blocks[0, 2]}, labels)[0, 2] == sequence[0, 2]


def test_every_worker_runs_on_one_thread(monkeypatch):
    """More BLAS threads move a score by up to 0.03, and OpenMP's spin against each other on a busy machine."""
    seen = []

    def look(array, **_):
        seen.append({(library['user_api'], library['num_threads']) for library in threadpool_info()})
        return array[:, :2]

    monkeypatch.setattr('mmsls.scoring.silhouette.embed', look)
    with threadpool_limits(2):
        layer_scores(features(1, 2, 3, 4), classes(), n_jobs=2)
    assert seen == [{('openmp', 1), ('blas', 1)}] * 4


def test_thread_settings_come_back():
    with threadpool_limits(2):
        before = [(library['filepath'], library['num_threads']) for library in threadpool_info()]
        layer_scores(features(1, 2), classes())
        assert [(library['filepath'], library['num_threads']) for library in threadpool_info()] == before


def test_names_of_classes_do_not_matter():
    blocks = features(4)
    names = np.array(['platelet', 'red', 'white'])[classes()]
    assert layer_scores(blocks, names) == layer_scores(blocks, classes()) == layer_scores(blocks, classes() * 10 - 3)


def test_seed_and_perplexity_reach_the_embedding():
    blocks = features(1, samples=120)
    scores = layer_scores(blocks, classes(120))
    assert layer_scores(blocks, classes(120), perplexity=5) != scores


def test_result_keeps_the_order_of_the_blocks_and_reports_progress():
    blocks = dict(reversed(features(1, 2, 3).items()))
    seen: dict[tuple[int, int], float] = {}
    scores = layer_scores(blocks, classes(), progress=seen.__setitem__)
    assert list(scores) == list(blocks)
    assert seen == scores
    assert all(type(score) is float for score in scores.values())


def test_widths_may_differ_between_blocks():
    blocks = features(8)
    blocks[1, 0] = np.repeat(blocks[0, 0], 2, axis=1)
    assert layer_scores(blocks, classes())[1, 0] > 0.3


def test_bad_block_is_named_before_any_embedding(monkeypatch):
    monkeypatch.setattr('mmsls.scoring.silhouette.embed', lambda *_, **__: pytest.fail('embedded before the checks'))
    blocks = features(1, 2, 3)
    blocks[0, 2] = np.zeros((60, 16))
    with pytest.raises(ValueError, match=r'block \(0, 2\): all 60 samples have the same features'):
        layer_scores(blocks, classes())


def test_failure_inside_names_the_block_and_stops(monkeypatch):
    begun = []

    def fail(array, *, block, **__):
        begun.append(block)
        if block == (0, 1):
            raise MemoryError('no room')
        time.sleep(0.1)
        return array[:, :2]

    monkeypatch.setattr('mmsls.scoring.silhouette.embed', fail)
    with pytest.raises(RuntimeError, match=r'block \(0, 1\): scoring failed: no room'):
        layer_scores(features(*range(20)), classes(), n_jobs=1)
    assert len(begun) < 20


def test_an_interrupt_in_progress_stops_scoring():
    calls = []

    def interrupt(block, _):
        calls.append(block)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layer_scores(features(*range(6)), classes(), n_jobs=1, progress=interrupt)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.zeros(60, int), r'only the class \[0\]'),
        (np.arange(60), 'all 60 samples have classes of their own'),
        (classes(30), r'block \(0, 0\): 60 samples but 30 labels'),
        (classes()[:, None], r'shape \(60, 1\)'),
        (np.where(classes() == 1, np.nan, classes()), 'NaN'),
        (classes() + 0.5, 'fractions'),
        ([None] * 60, 'type object'),
        ([], 'only the class'),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        layer_scores(features(1), labels)


def test_no_block_is_refused():
    with pytest.raises(ValueError, match='features is empty'):
        layer_scores({}, classes())


@pytest.mark.parametrize('n_jobs', [0, -1, 1.5, True, '2'])
def test_wrong_n_jobs_is_named(n_jobs):
    with pytest.raises(ValueError, match='n_jobs is'):
        layer_scores(features(1), classes(), n_jobs=n_jobs)


def test_labels_become_class_numbers():
    assert check_labels(np.array([5.0, 3.0, 5.0])).tolist() == [1, 0, 1]


def test_singletons_among_larger_classes_are_allowed():
    labels = classes()
    labels[0] = 9
    assert -1 <= layer_scores(features(4), labels)[0, 0] <= 1


def test_reading_the_rule_imports_neither_scikit_learn_nor_torch():
    code = (
        'import sys, mmsls.pruning_index; from mmsls.scoring import choose_depths;'
        'assert not {"sklearn", "torch", "mmengine"} & set(sys.modules);'
        'from mmsls.scoring import layer_scores; assert not {"torch", "mmengine"} & set(sys.modules)'
    )
    env = {'PYTHONPATH': ':'.join(filter(None, sys.path))}
    command = [sys.executable, '-c', code]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert run.returncode == 0, run.stderr


def test_torch_tensors_of_any_precision_count_as_arrays():
    arrays = features(1.0)
    halves = {block: torch.tensor(array).bfloat16().requires_grad_() for block, array in arrays.items()}
    as_float = {block: tensor.detach().float().numpy() for block, tensor in halves.items()}
    labels = torch.tensor(classes())
    assert layer_scores(halves, labels, n_jobs=1) == layer_scores(as_float, classes(), n_jobs=1)
    assert layer_scores(halves, labels.bfloat16(), n_jobs=1) == layer_scores(as_float, classes(), n_jobs=1)


@pytest.mark.parametrize('seed', [-1, 2**32, 0.5, None])
def test_a_seed_that_tsne_does_not_take_is_refused(seed):
    with pytest.raises(ValueError, match='seed is'):
        layer_scores(features(1.0), classes(), seed=seed)
