"""The curves that other samples of the same kind would have given, and what they say of every block's drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmsls.scoring.applying import grouped
from mmsls.scoring.curve import BlockId

ROUNDS = 500
"""Bootstraps: a share of a half is then known to 2 points."""
BOOTSTRAPS, HALVES = 'bootstraps', 'half-samples'


@dataclass(frozen=True)
class Resampled:
    """A curve in points, and those that other samples would have given; the same samples for every block.

    Attributes:
        blocks: Every `(stage, block)`.
        whole: (blocks,), the curve of all samples.
        others: (rounds, blocks), points; they spread as the curves of as many other samples would.
        drawn: What a round is, in words.
    """

    blocks: tuple[BlockId, ...]
    whole: NDArray[np.float64]
    others: NDArray[np.float64]
    drawn: str

    def drop_errors(self, scope: str) -> list[list[float]]:
        """Return the standard error of what every block loses against the best one of its group.

        The errors are paired: what is hard for all blocks alike does not count.

        Args:
            scope: The rule's; `'stage'` compares with the best block of each stage.

        Returns:
            Points, to two digits, stage by stage, bottom first; 0 for the best block itself.
        """
        at = {block: number for number, block in enumerate(self.blocks)}
        errors: dict[BlockId, float] = {}
        for group in grouped(sorted(self.blocks), scope):
            columns = [at[block] for block in group]
            best = columns[int(self.whole[columns].argmax())]
            drops, others = self.whole[best] - self.whole, self.others[:, [best]] - self.others
            found = np.sqrt(((others - drops) ** 2).mean(axis=0))
            errors.update({self.blocks[column]: round(float(found[column]), 2) for column in columns})
        stages = 1 + max(stage for stage, _ in self.blocks)
        return [[errors[block] for block in sorted(errors) if block[0] == stage] for stage in range(stages)]


def bootstraps(hits: Mapping[BlockId, ArrayLike], rounds: int = ROUNDS, seed: int = 0) -> Resampled:
    """Draw samples with replacement (Efron, 1979).

    Args:
        hits: Of every `(stage, block)`, (n,): whether each of the same n samples is right (see `mmsls.scoring.hits`).
        rounds: How often, at least 1.
        seed: Of the drawing.

    Raises:
        ValueError: If there is no sample, or the blocks judge different numbers of them.
    """
    judged = {block: np.asarray(found, dtype=np.float64) for block, found in hits.items()}
    shapes = {array.shape for array in judged.values()}
    if len(shapes) != 1 or not (count := min(shapes)[0]):
        raise ValueError(f'hits have shapes {sorted(shapes)}; every block must judge the same samples, at least one')
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    curves = np.stack([np.full(count, 1.0), *draws]) @ np.stack(list(judged.values()), axis=1) * (100 / count)
    curves = curves.clip(0, 100)  # rounding alone could leave the bounds of points
    return Resampled(tuple(judged), curves[0], curves[1:], BOOTSTRAPS)


def half_samples(size: int, rounds: int, most: int, seed: int = 0) -> list[list[int]]:
    """Draw halves of some images without replacement; no image comes twice in one, which some metrics need.

    Args:
        size: Number of images, at least 2.
        rounds: How many halves.
        most: Most images of one; above twice as many, what is drawn is less than a half.
        seed: Of the drawing; fewer rounds are the first ones of more.

    Returns:
        The numbers of their images, ascending.
    """
    rng = np.random.default_rng(seed)
    return [sorted(rng.choice(size, min(size // 2, most), replace=False).tolist()) for _ in range(rounds)]


def of_half_samples(
    blocks: Sequence[BlockId], whole: Sequence[float], parts: ArrayLike, kept: int, size: int
) -> Resampled:
    """Make curves of what every block is worth on parts of the images.

    Parts of k of n images spread sqrt((n - k) / k) times as far as the whole lies off the truth: as far for halves, and
    scaled for smaller parts. Exact for means, and for other metrics the better the more images there are. They spread
    about their own mean, since some metrics are higher on few images, such as mAP.

    Args:
        blocks: Every `(stage, block)`.
        whole: (blocks,), points on all images.
        parts: (rounds, blocks), points on each part, two rounds or more.
        kept: Images of a part, k.
        size: Images of all, n.

    Example:
        >>> found = of_half_samples([(0, 0), (0, 1)], [60.0, 80.0], [[58.0, 81.0], [62.0, 79.0]], kept=50, size=100)
        >>> found.drop_errors('model')
        [[4.24, 0.0]]

    Source:
        McCarthy, Pseudoreplication: half samples, Rev. Int. Stat. Inst. 37 (1969), for halves; Shao & Wu, A general
        theory for jackknife variance estimation, Ann. Statist. 17 (1989), for parts: the delete-d jackknife.
    """
    full, found = np.asarray(whole, dtype=np.float64), np.asarray(parts, dtype=np.float64)
    rounds = len(found)
    scale = np.sqrt(kept / (size - kept) * rounds / (rounds - 1))  # one of the rounds went into their mean
    others = full + scale * (found - found.mean(axis=0))
    drawn = HALVES if kept == size // 2 else f'parts of {kept} images'
    return Resampled(tuple(blocks), full, others.clip(0, 100), drawn)
