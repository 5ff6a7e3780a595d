"""The smallest depth that loses no more than so many points, found on validation images: bridged and bisected."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmsls.backbones.lookup import find_backbone
from mmsls.cost.by_depth import built
from mmsls.criteria import Bridged, Evidence
from mmsls.features.trial import Trial
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.choice import Choice
from mmsls.pruning_index.choosing import by_hand, ruled_candidates
from mmsls.runs.configs import check_checkpoint
from mmsls.scoring.candidates import Candidate
from mmsls.scoring.curve import is_real

ROUNDING = 1e-9
"""Points by which a loss may miss a limit that it equals on paper."""


class Tries:
    """Depths tried out, each at most once.

    Args:
        evidence: The model, and what it is tried on.
        depths: What may be tried.
    """

    def __init__(self, evidence: Evidence, depths: Sequence[tuple[int, ...]]) -> None:
        self.evidence, self.criterion = evidence, Bridged()
        full = evidence.backbone.depths
        lasts = {(stage, kept - 1) for depth in depths for stage, kept in enumerate(depth) if 0 < kept < full[stage]}
        self.criterion.fit(evidence, lasts)
        self.points: dict[tuple[int, ...], float] = {}
        self.passes = 0

    def at(self, *depths: tuple[int, ...]) -> float:
        """Return the points at the first of some depths; those that are new are judged in one pass."""
        new = [depth for depth in depths if depth not in self.points]
        if new:
            self.points |= dict(zip(new, self.criterion.at_depths(self.evidence, new), strict=True))
            self.passes += 1
        return self.points[depths[0]]

    def told(self, trial: Trial) -> str:
        """Say what was tried and what came of it."""
        images: Any = trial.validation().dataset
        points = ', '.join(f'{"-".join(map(str, depth))}: {value:.2f}' for depth, value in self.points.items())
        return f'{self.criterion.metric} on {len(images)} validation images in {self.passes} passes, bridged ({points})'


@torch.no_grad()
def verify(
    index: PruningIndex,
    cfg: Config,
    checkpoint: str,
    max_drop: float,
    on_batch: Callable[[int, int], None] | None = None,
) -> PruningIndex:
    """Find the smallest depth, of those that an index's kind of rule gives, that loses no more than so many points.

    Each depth that is tried is judged on the validation images by the host's evaluator, everything removed bridged (see
    `Bridged`) and nothing trained. They are bisected, which relies on it that a deeper model is no worse: where that
    does not hold, the answer still loses no more than was asked for, but a smaller depth may do so too.

    Args:
        index: Whose candidates are tried.
        cfg: Config of the tuned model, with `val_dataloader` and `val_evaluator`.
        checkpoint: Its weights, at full depth.
        max_drop: Points that may be lost against the whole model.
        on_batch: Called with (batches done, batches in all) in every pass.

    Returns:
        The index with what is kept now; `chosen.rests_on` says what was tried, and in how many passes.

    Raises:
        ValueError: If the index keeps single blocks or is of another backbone, the config has nothing to judge by, or
            `max_drop` makes no sense.
        FileNotFoundError: If the checkpoint is not there.
    """
    if not is_real(max_drop) or max_drop < 0:
        raise ValueError(f'max_drop is {max_drop!r}; it must be a number of points of at least 0, such as 1')
    if index.rule.keep is not None:
        raise ValueError(
            f'keep is {index.rule.keep:g}: {index.criterion["type"]} rates single blocks, and what is tried out keeps '
            'the lowest ones; give an index of a criterion that rates depths'
        )
    checkpoint, trial = check_checkpoint(checkpoint), Trial(cfg, 'val', on_batch)
    model = built(cfg, None, checkpoint)
    backbone = find_backbone(model)
    index.check_backbone(backbone.fingerprint())
    full, read = backbone.depths, {stage for stage, _ in backbone.bridge_targets()}
    below = [one for one in ruled_candidates(index) if one.kept_depths != full]
    bridged = [one for one in below if all(one.kept_depths[stage] for stage in read)]
    if below and not bridged:
        raise ValueError(
            f'scope is {index.scope!r}: whatever it cuts empties a stage, and no bridge stands for a whole stage; take '
            "scope 'stage'"
        )
    depths = [full, *(one.kept_depths for one in bridged)]
    tries = Tries(Evidence(model, backbone, (), {}, np.zeros(0, dtype=int), trial=trial), depths)
    found = smallest(depths, tries, max_drop)
    whole, points = tries.points[full], tries.points[depths[found]]
    rests_on = f'{tries.told(trial)} of {Path(checkpoint).name}, {len(depths)} depths to try; relying on it that a '
    rests_on += 'deeper model is no worse'
    if len(below) > len(bridged):
        rests_on += f'; {len(below) - len(bridged)} that empty a stage cannot be bridged and were left out'
    return decided(index, [None, *bridged][found], Choice('verify', float(max_drop), whole - points, rests_on))


def smallest(depths: Sequence[tuple[int, ...]], tries: Tries, max_drop: float) -> int:
    """Bisect for the last of some depths, the whole model first, that loses no more than `max_drop` against it."""
    if len(depths) == 1:
        tries.at(depths[0])
        return 0
    # The first one that a bisection asks for is the middle one: it is judged together with the whole model.
    tries.at(depths[0], depths[1 + (len(depths) - 1) // 2])
    least = tries.at(depths[0]) - max_drop - ROUNDING
    return bisect_left(range(1, len(depths)), True, key=lambda number: tries.at(depths[number]) < least)


def decided(index: PruningIndex, candidate: Candidate | None, chosen: Choice) -> PruningIndex:
    """Return an index that keeps a candidate; None is the whole model, which its rule gives or not."""
    full = index.foundation.depths
    if candidate is None:
        rules = [one.rule for one in ruled_candidates(index) if one.kept_depths == full]
        return index.ruled(rules[0], chosen) if rules and rules[0] else by_hand(index, full, chosen)
    assert candidate.rule is not None
    return index.ruled(candidate.rule, chosen)
