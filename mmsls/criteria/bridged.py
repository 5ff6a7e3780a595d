"""What a depth is worth once what was removed above it is bridged: the host's own metric, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.bridge import BridgeSetting, check_bridge
from mmsls.backbones.replay import Pass, Substitute
from mmsls.criteria.base import CRITERIA, Evidence, check_count
from mmsls.criteria.trying import Bridges, Judged, fitted_bridges, judged
from mmsls.scoring import BlockId
from mmsls.scoring.curve import POINTS
from mmsls.scoring.resampling import Resampled, of_half_samples

ROUNDS = 50
"""Half-samples: a standard error is then known to a tenth of itself."""
Cut = Mapping[int, int]
"""The topmost block that is kept, of every stage that is cut."""


@CRITERIA.register_module()
class Bridged:
    """Metric of the tuned model cut above each block of a stage, everything removed replaced by a linear bridge.

    Two steps, neither of which trains: one pass over training images, whose labels are not used, fits the bridges from
    every block to every removed output (`LinearBridge`); one pass over the images that judge hands every cut model's
    features, most of which are there already, to the host's head and evaluator. The other stages stay whole. The
    removal of blocks that no output depends on costs nothing. It rates every stage on its own, so the rule's scope is
    `'stage'`.

    Args:
        images: Most training images that bridges are fitted on.
        tokens: Most tokens of them, evenly many of each image.
        memory: Most bytes of sums at a time; more take more passes over the training images.
        rank: Highest rank of the bridges, where the model will have such ones (`bridge=rank`); None: any.
        rounds: Random halves of the images that judge, on which every depth is judged again, by the same outputs: they
            say how sure the decision is. 0: none; fewer where the metric is slow, but at least 20.

    Attributes:
        metric: Name of the host's metric.
        chance: Points of it that guessing reaches.
        resampled: The curves that other images would have given; None where that cannot be said.

    Raises:
        ValueError: If an argument is below 1 (`rounds`: 0, or 2; `rank`: 2).
    """

    kind = 'depth'
    unit = POINTS
    needs = 'trial'
    default_scope = 'stage'

    def __init__(
        self,
        images: int = 1000,
        tokens: int = 200_000,
        memory: int = 2**30,
        rank: int | None = None,
        rounds: int = ROUNDS,
    ) -> None:
        self.images = check_count('Bridged.images', images, 1)
        self.tokens = check_count('Bridged.tokens', tokens, 1)
        self.memory = check_count('Bridged.memory', memory, 1)
        self.rounds = check_count('Bridged.rounds', rounds, 0)
        if self.rounds == 1:
            raise ValueError('Bridged.rounds is 1; it must be 0, or at least 2')
        self.setting: BridgeSetting = True if rank is None else rank
        check_bridge(self.setting)
        self.metric, self.chance = '', 0.0
        self.resampled: Resampled | None = None
        self.bridges: Bridges = {}

    @torch.no_grad()
    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return the metric in points for every block; that of the whole model for the top of each stage.

        Raises:
            ValueError: If there is nothing to try the model on, or a feature is not finite.
        """
        self.fit(evidence)
        backbone = evidence.backbone
        read = {stage for stage, _ in backbone.bridge_targets()}
        cuts: list[Cut] = [{}]
        cuts += [{stage: block} for (stage, block) in below_top(backbone) if stage in read]
        found = self._judged(evidence, cuts, self.rounds)
        self.metric, self.chance = found.metric, found.chance
        at = {last_of(cut): number for number, cut in enumerate(cuts) if cut}
        numbers = [at.get(block, 0) for block, _ in backbone.iter_blocks()]
        blocks, curve = [block for block, _ in backbone.iter_blocks()], [found.points[number] for number in numbers]
        if found.parts is not None:
            parts = [[row[number] for number in numbers] for row in found.parts.points]
            self.resampled = of_half_samples(blocks, curve, parts, found.parts.kept, found.parts.size)
        return dict(zip(blocks, curve, strict=True))

    @torch.no_grad()
    def fit(self, evidence: Evidence, lasts: Collection[BlockId] | None = None) -> None:
        """Fit bridges on training images.

        Args:
            evidence: As for `__call__`.
            lasts: The blocks that they begin at; None: every block below the top of its stage.

        Raises:
            ValueError: If there is nothing to try the model on, or a feature is not finite.
        """
        trial, backbone = evidence.trial, evidence.backbone
        if trial is None:
            raise ValueError('criterion Bridged needs images and an evaluator to try the model on; score it by config')
        wanted = [
            (block, target)
            for block in below_top(backbone)
            for target in backbone.bridge_targets()
            if target[0] == block[0] and target[1] > block[1] and (lasts is None or block in lasts)
        ]
        self.bridges = fitted_bridges(
            evidence.model, trial, wanted, self.images, self.tokens, self.memory, self.setting
        )

    def together(self, evidence: Evidence, kept: Sequence[int]) -> float:
        """Return the metric in points with several stages cut at once, by the bridges that were fitted.

        Args:
            evidence: As for `__call__`.
            kept: Blocks kept per stage, at least 1 where a bridge has to begin.
        """
        return self.at_depths(evidence, [kept])[0]

    @torch.no_grad()
    def at_depths(self, evidence: Evidence, depths: Sequence[Sequence[int]]) -> list[float]:
        """Return the metric in points at each of some depths, judged in one pass; see `together`."""
        read = {stage for stage, _ in evidence.backbone.bridge_targets()}
        full = evidence.backbone.depths
        cuts = [
            {stage: depth - 1 for stage, depth in enumerate(kept) if 0 < depth < full[stage] and stage in read}
            for kept in depths
        ]
        found = self._judged(evidence, cuts)
        self.metric = found.metric
        return found.points

    def _judged(self, evidence: Evidence, cuts: Sequence[Cut], rounds: int = 0) -> Judged:
        def stand_in(cut: Cut, passes: Sequence[Pass]) -> Substitute | None:
            return StandIn(cut, self.bridges, passes, evidence.backbone) if cut else None

        assert evidence.trial is not None
        # What the whole model gave is worth having where several models take it.
        replay = len(cuts) > 1
        return judged(evidence.model, evidence.trial, cuts, stand_in, rounds, evidence.seed, replay)


class StandIn:
    """Says what stands in for each block of a model that is cut (see `substituted`).

    Args:
        cut: Where it is cut.
        bridges: What stands for removed blocks.
        passes: What every block of the whole model gave for these images; none: every kept block runs.
        backbone: The backbone.
    """

    def __init__(self, cut: Cut, bridges: Bridges, passes: Sequence[Pass], backbone: PrunedBackbone) -> None:
        self.cut, self.bridges, self.passes = cut, bridges, passes
        self.targets, self.lowest = set(backbone.bridge_targets()), min(cut) if passes else -1
        self.held: dict[tuple[int, int], Tensor] = {}

    def __call__(self, number: int, block: BlockId) -> Callable[[Tensor], Tensor] | None:
        """Return what a block becomes in the n-th pass: what it gave, a bridge, nothing; or None where it runs."""
        stage, position = block
        last = self.cut.get(stage)
        if last is not None and position > last:
            return lambda x: self._bridge(number, block, last, x)
        if stage > self.lowest:
            return None  # what it is given has changed
        return lambda _: self.passes[number][block]

    def _bridge(self, number: int, block: BlockId, last: int, x: Tensor) -> Tensor:
        stage, position = block
        if position == last + 1:
            self.held[number, stage] = x
        return self.bridges[(stage, last), block](self.held[number, stage]) if block in self.targets else x


def below_top(backbone: PrunedBackbone) -> list[BlockId]:
    """Return every block but the top one of its stage."""
    return [(stage, block) for stage, depth in enumerate(backbone.depths) for block in range(depth - 1)]


def last_of(cut: Cut) -> BlockId:
    """Return the last kept block of a cut in one stage."""
    return next(iter(cut.items()))
