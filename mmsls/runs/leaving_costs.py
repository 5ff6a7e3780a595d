"""What every depth of a scored model costs, measured beside its index, in seconds and not in minutes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmsls.cost.by_depth import DepthCosts, measure
from mmsls.pruning_index import PruningIndex
from mmsls.report.others import others_of
from mmsls.report.rules import readings
from mmsls.runs.costing import costs_path, known_costs
from mmsls.scoring.candidates import candidates

MOST = 8
"""Depths that are measured, the full one left out."""
SECONDS = 40.0
"""What measuring may take, about."""
ROUNDS = 5
"""Timed rounds."""


def leave_costs(cfg: Config, index_path: str | Path, checkpoint: str | None = None, again: bool = True) -> None:
    """Measure what the depths that can be decided for cost, and leave that beside an index; in one process.

    At most 8 depths on one image, and as few as about 40 seconds allow. What goes wrong is said in a line, and ends no
    run.

    Args:
        cfg: Config of the model at full depth.
        index_path: The index file.
        checkpoint: Its weights; how long a detector takes depends on what its head finds.
        again: Measure anew where it was done before.
    """
    try:
        index = PruningIndex.load(index_path)
        others = [other.index.kept_depths for other in others_of(Path(index_path), index, [])]
        wanted = depths_of(index, MOST, others)
        known = None if again else known_costs(index, index_path)
        if known is not None and is_known(known, wanted):
            return
        start = time.perf_counter()
        measure(cfg, (), checkpoint, repeats=1)  # the full depth alone: what one costs bounds how many there may be
        room = int(SECONDS / (2 * (time.perf_counter() - start)))
        if not room:
            print_log('SLS: what the depths cost is not measured: the full one alone takes too long', 'current')
            return
        measure(cfg, depths_of(index, min(room, MOST), others), checkpoint, ROUNDS).save(costs_path(index_path))
    except Exception as error:  # a table of costs is worth no run
        print_log(f'SLS: what the depths cost is not measured: {error}', 'current', logging.WARNING)


def is_known(costs: DepthCosts, depths: Sequence[tuple[int, ...]]) -> bool:
    """Whether all of some depths were measured."""
    return all(costs.at(depth) is not None for depth in depths)


def depths_of(index: PruningIndex, most: int, others: Sequence[tuple[int, ...]] = ()) -> list[tuple[int, ...]]:
    """Return at most so many depths that a rule can give: what was decided, what the usual rules keep, some between.

    Args:
        index: The index.
        most: How many.
        others: What other criteria keep; it comes after what the usual rules do.

    Example:
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(12,))
        >>> index = PruningIndex.create(scores={(0, b): 0.05 * b for b in range(12)}, backbone=vit)
        >>> depths_of(index, 4)
        [(5,), (12,), (11,), (2,)]
    """
    first = dict.fromkeys([*(reading.kept_depths for reading in readings(index)), *others])
    rest = [found.kept_depths for found in candidates(index.curve, index.rule) if found.kept_depths not in first]
    room = most - len(first)
    if room > 0:
        step = max(len(rest) - 1, 1) / max(room - 1, 1)
        first |= dict.fromkeys(rest[min(round(number * step), len(rest) - 1)] for number in range(min(room, len(rest))))
    return list(first)[:most]
