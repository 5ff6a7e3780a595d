"""What a depth is worth once what was removed above it is bridged: the host's own metric, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.replay import Pass, Substitute
from mmsls.criteria.base import CRITERIA, Evidence
from mmsls.criteria.trying import Bridges, fitted_bridges, judged
from mmsls.scoring import BlockId
from mmsls.scoring.curve import POINTS

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

    Raises:
        ValueError: If an argument is below 1.
    """

    kind = 'depth'
    unit = POINTS
    needs = 'trial'
    default_scope = 'stage'

    def __init__(self, images: int = 1000, tokens: int = 200_000, memory: int = 2**30) -> None:
        for name, value in (('images', images), ('tokens', tokens), ('memory', memory)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f'Bridged.{name} is {value!r}; it must be a whole number of at least 1')
        self.images, self.tokens, self.memory = images, tokens, memory
        self.metric = ''
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
        found = self._judged(evidence, cuts)
        whole, values = found[0], dict(zip(map(last_of, cuts[1:]), found[1:], strict=True))
        return {block: values.get(block, whole) for block, _ in backbone.iter_blocks()}

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
        self.bridges = fitted_bridges(evidence.model, trial, wanted, self.images, self.tokens, self.memory)

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
        return self._judged(
            evidence,
            [
                {stage: depth - 1 for stage, depth in enumerate(kept) if 0 < depth < full[stage] and stage in read}
                for kept in depths
            ],
        )

    def _judged(self, evidence: Evidence, cuts: Sequence[Cut]) -> list[float]:
        def stand_in(cut: Cut, passes: Sequence[Pass]) -> Substitute | None:
            return StandIn(cut, self.bridges, passes, evidence.backbone) if cut else None

        assert evidence.trial is not None
        # What the whole model gave is worth having where several models take it.
        self.metric, points = judged(evidence.model, evidence.trial, cuts, stand_in, replay=len(cuts) > 1)
        return points


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
