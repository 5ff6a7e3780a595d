"""One score per block: the mean silhouette of the ground-truth classes in the block's embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import numpy as np
from joblib import cpu_count
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import silhouette_score
from threadpoolctl import ThreadpoolController

from mmsls.scoring.curve import BlockId
from mmsls.scoring.embedding import check_features, check_perplexity, check_seed, embed, to_numpy


def layer_scores(
    features: Mapping[BlockId, ArrayLike],
    labels: ArrayLike,
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: Callable[[BlockId, float], None] | None = None,
    on_plane: Callable[[BlockId, NDArray[np.float32]], None] | None = None,
) -> dict[BlockId, float]:
    """Score every block by how well its features separate the classes in the plane.

    The score is the mean silhouette of the ground-truth classes in the t-SNE embedding of the block's features (Han &
    Tang, ECCV 2024, arXiv 2407.14330; see `embed`). Blocks are scored in parallel, and the result is bit-identical for
    every `n_jobs`. It does depend on the order of the samples: keep it fixed, in data-set order. Everything is checked
    before the first embedding.

    Args:
        features: Array of shape (n, d) of every `(stage, block)`; n is common, at least 10, and d may differ.
        labels: Shape (n,), class of every sample: whole numbers or strings, 2 to n - 1 different ones.
        perplexity: Of t-SNE; capped at (n - 1) / 3.
        seed: Of t-SNE.
        n_jobs: Blocks scored at the same time; None for the number of usable cores.
        progress: Called in the calling thread with the block and its score as each is done, in no fixed order.
        on_plane: Called with the block and its embedding (see `embed`), in the thread that made it.

    Returns:
        Score in [-1, 1] of every block, in the order of `features`.

    Raises:
        ValueError: If the labels or the features of a block cannot be scored soundly; the message names the block, the
            reason and the mend.
        RuntimeError: If an embedding or a silhouette fails all the same; the message names the block.

    Example:
        >>> noise, classes = np.random.default_rng(0).normal(size=(60, 8)), np.repeat([0, 1, 2], 20)
        >>> scores = layer_scores({(0, 0): noise, (0, 1): noise + 20 * classes[:, None]}, classes)
        >>> scores[0, 0] < 0.1, scores[0, 1] > 0.8
        (True, True)
    """
    arrays, classes = check_layers(features, labels)
    check_perplexity(perplexity)
    check_seed(seed)
    controller = ThreadpoolController()

    def score(block: BlockId) -> float:
        # OpenMP's thread number belongs to the calling thread, so every worker sets its own. With one, the order of
        # sums is fixed.
        with controller.limit(limits=1, user_api='openmp'):
            plane = embed(arrays[block], perplexity=perplexity, seed=seed, block=block)
            if on_plane is not None:
                on_plane(block, plane)
            return float(silhouette_score(plane, classes))

    # BLAS' thread number belongs to the process: pinned once, here, so that no worker restores it under another one.
    with controller.limit(limits=1, user_api='blas'):
        return _score_blocks(score, list(arrays), min(check_jobs(n_jobs), len(arrays)), progress)


def check_layers(
    features: Mapping[BlockId, ArrayLike], labels: ArrayLike
) -> tuple[dict[BlockId, NDArray[np.float32]], NDArray[np.intp]]:
    """Return the features of every block and the labels as `layer_scores` takes them.

    Raises:
        ValueError: If the labels or the features of a block cannot be scored soundly; the first block that is refused
            is named.
    """
    if not features:
        raise ValueError('features is empty; pass one array of shape (samples, features) for every (stage, block)')
    arrays = {block: check_features(array, block=block) for block, array in features.items()}
    classes = check_labels(labels)
    for block, array in arrays.items():
        if len(array) != len(classes):
            raise ValueError(
                f'block {block}: {len(array)} samples but {len(classes)} labels; pass one label per sample'
            )
    return arrays, classes


def _score_blocks(
    score: Callable[[BlockId], float],
    blocks: list[BlockId],
    workers: int,
    progress: Callable[[BlockId, float], None] | None,
) -> dict[BlockId, float]:
    """Score the blocks in threads; the first failure cancels those not begun and names its block."""
    done = dict.fromkeys(blocks, 0.0)
    with ThreadPoolExecutor(workers, 'mmsls-score') as pool:
        jobs = {pool.submit(score, block): block for block in blocks}
        try:
            for job in as_completed(jobs):
                done[jobs[job]] = _result(job, jobs[job])
                if progress is not None:
                    progress(jobs[job], done[jobs[job]])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def _result(job: Future[float], block: BlockId) -> float:
    """Return the score of a finished job, or raise a RuntimeError that names its block."""
    try:
        return job.result()
    except Exception as error:
        raise RuntimeError(f'block {block}: scoring failed: {error}') from error


def check_labels(labels: ArrayLike) -> NDArray[np.intp]:
    """Return the labels as class numbers 0, 1, ..., or raise a ValueError if no silhouette is defined for them.

    Args:
        labels: Shape (n,), whole numbers or strings.

    Returns:
        Shape (n,).

    Raises:
        ValueError: If the labels are not (n,), hold NaN, are all the same or all different.

    Example:
        >>> check_labels(['cat', 'dog', 'cat']).tolist()
        [0, 1, 0]
    """
    array = to_numpy(labels)
    kind = f'labels have shape {array.shape} and type {array.dtype}'
    if array.ndim != 1 or array.dtype.kind not in 'biufUS':
        raise ValueError(f'{kind}; they must be whole numbers or strings of shape (samples,)')
    if array.dtype.kind == 'f' and not np.array_equal(array, np.round(array)):  # NaN is unequal to itself
        raise ValueError('labels hold NaN or fractions; pass one whole number or string per sample')
    names, classes = np.unique(array, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f'labels hold only the class {names.tolist()}; a silhouette needs at least 2: score on more classes'
        )
    if len(names) == len(array):
        raise ValueError(
            f'labels: all {len(array)} samples have classes of their own; a class needs several: score more data'
        )
    return classes.reshape(-1)


def check_jobs(n_jobs: int | None) -> int:
    """Return the number of worker threads, or raise a ValueError that names what was given."""
    if n_jobs is None:
        return cpu_count()
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs < 1:
        raise ValueError(f'n_jobs is {n_jobs!r}; it must be None (all usable cores) or a whole number of at least 1')
    return int(n_jobs)
