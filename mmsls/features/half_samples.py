"""A host's metric on random halves of the images that it was computed on: the same results, fewer of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from math import isfinite
from time import monotonic
from typing import Any, Protocol

from mmengine.logging import MMLogger

from mmsls.criteria.base import Parts
from mmsls.parallel.main_process import on_main_process
from mmsls.scoring.resampling import half_samples

FEWEST = 4
"""Images without which nothing can be said."""
LEAST, SECONDS = 20, 60.0
"""Fewest halves, and the time after which there are no more than those."""
MOST = 250
"""Most images of a half, since some metrics take seconds for so many."""


@dataclass(frozen=True)
class Computed:
    """What a metric computed, and from what.

    Attributes:
        metric: The metric.
        results: What its `process` kept, of all processes, in the images' order.
        names: What it gave numbers for, with its prefix.
    """

    metric: Any
    results: Sequence[Any]
    names: tuple[str, ...]

    def on(self, images: Sequence[int], name: str) -> float:
        """Return one of its numbers on some of the images.

        Raises:
            ValueError: If it gives none for them.
        """
        metric, part = copy(self.metric), [self.results[image] for image in images]
        if hasattr(metric, 'img_ids'):  # COCO's and LVIS's would miss the images that are left out
            metric.img_ids = [truth['img_id'] for truth, _ in part]
        if hasattr(metric, 'outfile_prefix'):  # what was written is of all images
            metric.outfile_prefix = None
        with silence():
            found = metric.compute_metrics(part)
        named = dict(zip(prefixed(metric, found), found.values(), strict=True))
        if name not in named:
            raise ValueError(f'{type(metric).__name__} gives no {name} on {len(images)} of the images')
        return float(named[name])


class OnImages(Protocol):
    """What can be asked for its metric on some of the images."""

    def on(self, images: Sequence[int]) -> float:
        """Return it in percent."""


def parts_of(
    judges: Sequence[OnImages],
    size: int,
    rounds: int,
    seed: int = 0,
    on_round: Callable[[int, int], None] | None = None,
) -> Parts:
    """Ask judges for their metric on random halves of the images, the same for every judge. Call it on every rank.

    The main process asks; the others wait for one half at a time, as long as no backend loses patience.

    Args:
        judges: The judges.
        size: Number of images.
        rounds: Most halves; `LEAST` of them where more take longer than `SECONDS`.
        seed: Of the drawing.
        on_round: Called with (halves done, halves in all).

    Raises:
        ValueError: If there are too few images, or too many halves without a number.
        Exception: In every process, whatever a metric raises.
    """

    def ask(number: int, images: Sequence[int]) -> list[float] | None:
        if number >= LEAST and monotonic() - start > SECONDS:
            return None
        return [judge.on(images) for judge in judges]

    if size < FEWEST:
        raise ValueError(f'{size} images are too few to take halves of; it takes {FEWEST}')
    halves, start = half_samples(size, rounds, MOST, seed), monotonic()
    points: list[list[float]] = []
    for number, images in enumerate(halves):
        row = on_main_process(partial(ask, number, images))
        if row is None:
            break
        points.append(row)
        if on_round:
            on_round(number + 1, rounds)
    # COCO's metric is -1 where no image has a box.
    sound = [row for row in points if all(isfinite(value) and value >= 0 for value in row)]
    if len(sound) < min(LEAST, len(points)):
        raise ValueError(f'only {len(sound)} of {len(points)} halves of {len(halves[0])} images give a number')
    return Parts(sound, len(halves[0]), size)


@contextmanager
def watching(metrics: Sequence[Any]) -> Iterator[list[Computed]]:
    """Keep what metrics compute from inside the context; in the main process alone, where they compute."""
    seen: list[Computed] = []

    def watched(metric: Any) -> Any:
        def compute(results: Any) -> Any:
            found = type(metric).compute_metrics(metric, results)
            seen.append(Computed(metric, results, prefixed(metric, found)))
            return found

        return compute

    for metric in metrics:
        metric.compute_metrics = watched(metric)
    try:
        yield seen
    finally:
        for metric in metrics:
            del metric.compute_metrics


def prefixed(metric: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a metric's numbers as the host's evaluator gives them."""
    return tuple(f'{metric.prefix}/{name}' if metric.prefix else name for name in names)


@contextmanager
def silence() -> Iterator[None]:
    """Keep what the hosts log and print of every evaluation from the log."""
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.disabled = before
