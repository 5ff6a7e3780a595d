"""Checks of one block's features, and their embedding in the plane by t-SNE."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE

from mmsls.scoring.curve import BlockId

MIN_SAMPLES = 10

# scikit-learn 1.9.1 ends the process with a segmentation fault when the first principal component has no spread in
# float32: on constant features, and where the widest feature spreads over less than about 1e-22. Before it crashes it
# is wrong without a word: below 1e-15 and above 1e13 the squared distances lose their meaning. Both limits leave three
# decades or one to that; networks stay near 1.
MIN_SPREAD = 1e-12
MAX_SPREAD = 1e12

# A feature that varies only in its last bits is constant for our purpose: what varies is rounding noise.
MIN_RELATIVE_SPREAD = 8 * float(np.finfo(np.float32).eps)


def embed(
    features: ArrayLike, *, perplexity: float = 30.0, seed: int = 0, block: BlockId | None = None
) -> NDArray[np.float32]:
    """Embed the features of one block in the unit square by t-SNE (van der Maaten & Hinton, 2008) from a PCA start.

    The features enter as C-contiguous float32 and are not rescaled: t-SNE is chaotic, and a cast to float64 alone moves
    real scores by up to 0.1. The result is repeatable on one machine only if BLAS and OpenMP run on one thread each, as
    in `layer_scores`.

    Args:
        features: Shape (n, d), n >= 10 samples, d >= 2.
        perplexity: Effective number of neighbours, at most (n - 1) / 3: where it is larger, (n - 1) / 3 is taken.
        seed: Random state of PCA and t-SNE.
        block: `(stage, block)` that messages name.

    Returns:
        Shape (n, 2), every axis scaled to [0, 1]; an axis without any extent is 0.

    Raises:
        ValueError: If the features cannot be embedded soundly (see `check_features`) or the perplexity is not above 0.

    Example:
        >>> blobs = np.random.default_rng(0).normal(size=(40, 8)) + 20 * np.repeat([[0], [1]], 20, axis=0)
        >>> plane = embed(blobs)
        >>> plane.shape, plane.min(axis=0).tolist(), plane.max(axis=0).tolist()
        ((40, 2), [0.0, 0.0], [1.0, 1.0])
    """
    x = check_features(features, block=block)
    limit = (len(x) - 1) / 3
    points = TSNE(
        n_components=2, init='pca', random_state=seed, perplexity=min(check_perplexity(perplexity), limit)
    ).fit_transform(x)
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    if not (np.isfinite(extent).all() and extent.any()):
        raise ValueError(
            f'{_name(block)}: t-SNE found no embedding, its points coincide or are not finite; check the features'
        )
    return (points - low) / np.where(extent > 0, extent, 1)


def check_features(features: ArrayLike, *, block: BlockId | None = None) -> NDArray[np.float32]:
    """Return the features of one block as a C-contiguous float32 array that scikit-learn's t-SNE can embed soundly.

    Args:
        features: Shape (n, d), numeric.
        block: `(stage, block)` that messages name.

    Returns:
        Shape (n, d).

    Raises:
        ValueError: If the array is not numeric or not (n, d), has fewer than 10 samples or 2 features, holds NaN or
            infinite values, is constant (up to rounding), or spreads so little or so much that t-SNE crashes or fails
            without a word.

    Example:
        >>> check_features(np.zeros((20, 4)), block=(0, 3))
        Traceback (most recent call last):
        ...
        ValueError: block (0, 3): all 20 samples have the same features up to rounding ...
    """
    x = _as_float32(features, block)
    if len(x) < MIN_SAMPLES or x.shape[1] < 2:
        raise ValueError(
            f'{_name(block)}: features have shape {x.shape}; scoring needs {MIN_SAMPLES} samples of 2 features or '
            'more: score on more labelled data'
        )
    _check_finite(x, block)
    _check_spread(x, block)
    return x


def check_perplexity(perplexity: float) -> float:
    """Return the perplexity, or raise a ValueError that names it if it is not a finite number above 0."""
    if isinstance(perplexity, bool) or not isinstance(perplexity, Real) or not 0 < perplexity < np.inf:
        raise ValueError(f'perplexity is {perplexity!r}; it must be a finite number above 0 (30 by default)')
    return float(perplexity)


def check_seed(seed: int) -> int:
    """Return the seed, or raise a ValueError that names it if t-SNE takes no such number."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f'seed is {seed!r}; it must be a whole number from 0 to 2**32 - 1')
    return int(seed)


def to_numpy(values: Any) -> NDArray[Any]:
    """Return anything like an array as numpy's; a torch tensor may be on any device, of a dtype that numpy lacks."""
    if hasattr(values, 'detach'):
        values = values.detach().cpu()
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def _name(block: BlockId | None) -> str:
    """Name a block in a message."""
    return 'features' if block is None else f'block {block}'


def _as_float32(features: ArrayLike, block: BlockId | None) -> NDArray[np.float32]:
    """Turn anything numeric of shape (n, d) into C-contiguous float32."""
    array = to_numpy(features)
    if array.ndim != 2 or array.dtype.kind not in 'fiub':
        raise ValueError(
            f'{_name(block)}: features have shape {array.shape} and type {array.dtype}; they must be real numbers of '
            'shape (samples, features)'
        )
    with np.errstate(over='ignore'):  # what is too large for float32 turns infinite, and is then named as such
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_finite(x: NDArray[np.float32], block: BlockId | None) -> None:
    """Refuse NaN and infinite features."""
    wrong = ~np.isfinite(x).all(axis=1)
    if wrong.any():
        raise ValueError(
            f'{_name(block)}: {int(wrong.sum())} of {len(x)} samples have NaN or infinite features in float32 (first: '
            f'sample {int(wrong.argmax())}); check that the training did not diverge, and collect features in float32'
        )


def _check_spread(x: NDArray[np.float32], block: BlockId | None) -> None:
    """Refuse features on which t-SNE would crash or fail without a word."""
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    spread = high - low
    noise = MIN_RELATIVE_SPREAD * np.maximum(abs(low), abs(high))
    widest = f'(widest spread of a feature: {spread.max():.3g})'
    if not ((spread >= MIN_SPREAD) & (spread >= noise)).any():
        raise ValueError(
            f'{_name(block)}: all {len(x)} samples have the same features up to rounding {widest}; check that the '
            "images reach the model and that this block's weights are not zero"
        )
    if spread.max() > MAX_SPREAD:
        raise ValueError(
            f'{_name(block)}: the features are too large for t-SNE {widest}; check that the training did not diverge'
        )
