"""One decision from a stored curve, by whatever a person asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsls.cost.by_depth import DepthCosts
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.choosing import by_hand, check_target, ruled_candidates, surely, to_cost
from mmsls.runs.costing import costs_at, known_costs
from mmsls.runs.verifying import verify
from mmsls.scoring.candidates import candidates
from mmsls.scoring.overriding import READINGS
from mmsls.scoring.rule import Rule

TARGETS = ('depths', 'max_params', 'target_latency', 'sure', 'verify')
"""What a decision may be made by, besides the rule's options."""
MAX_DROP = 1.0
"""Points that may be lost where nobody says how many."""


class Decider:
    """Makes one decision.

    Args:
        index: The index.
        path: Its file, beside which costs lie.
        rule: Options of the rule that differ; None leaves one as it is.
        targets: At most one of `TARGETS`: blocks per stage; parameters of the model; a share of the full model's time;
            standard errors added to what is lost; the checkpoint to try depths out with. None asks for nothing.
        cfg: Config of the model, to measure it or to try it out.
        checkpoint: Weights of the model at full depth, to measure it with.
        on_batch: Called with (batches done, batches in all) where the model is tried out.

    Raises:
        ValueError: If two are asked for at once, or a target makes no sense.
    """

    def __init__(
        self,
        index: PruningIndex,
        path: str | Path,
        rule: Mapping[str, Any],
        targets: Mapping[str, Any],
        cfg: Config | None = None,
        checkpoint: str | None = None,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> None:
        self.before, self.path, self.cfg, self.checkpoint, self.on_batch = index, path, cfg, checkpoint, on_batch
        self.rule = {name: value for name, value in rule.items() if value is not None}
        self.targets = {name: value for name, value in targets.items() if value is not None}
        check_one(self.rule, self.targets)
        for name, value in self.targets.items():
            check_target(name, value)
        self.costs: DepthCosts | None = None
        self.measured = False

    def decide(self) -> PruningIndex:
        """Return the index with what is decided now; without anything asked for, the index as it is.

        Raises:
            ValueError: If the index, the file of costs or the config does not allow it; see `costs_at` and `verify`.
        """
        by: str = next(iter(self.targets), '')
        target: Any = self.targets.get(by)
        if by == 'depths':
            index = by_hand(self.before, target)
        elif by == 'verify':
            index = self._verified(target)
        elif by == 'sure':
            rule, most = self._most()
            index = surely(self._ruled(rule), most, target)
        else:
            index = self._ruled(self.rule)
            index = self._within(index, by, target) if by else index
        self._know(index)
        return index

    def _ruled(self, options: Mapping[str, Any]) -> PruningIndex:
        """Return the index under options of the rule; a scope brings its own `min_depth`, as elsewhere."""
        options = dict(options)
        if 'scope' in options and options['scope'] != self.before.scope:
            options.setdefault('min_depth', Rule.of(options).min_depth)
        return self.before.decide(**options)

    def _within(self, index: PruningIndex, by: str, most: float) -> PruningIndex:
        depths = {one.kept_depths for one in ruled_candidates(index)}
        self.costs, self.measured = costs_at(index, self.path, depths, self.cfg, self.checkpoint)
        rows = {row.kept_depths: row for row in self.costs.rows if row.kept_depths in depths}
        if by == 'max_params':
            counts = {kept: float(row.parameters) for kept, row in rows.items()}
            return to_cost(index, by, most, counts, 'the count of all parameters of the model, head included')
        shares = {kept: row.seconds / self.costs.full.seconds for kept, row in rows.items()}
        return to_cost(index, by, most, shares, f'a measurement of every depth: {self.costs.told}')

    def _verified(self, checkpoint: str) -> PruningIndex:
        if self.cfg is None:
            raise ValueError('verify needs the config of the model; give CONFIG CHECKPOINT')
        rule, most = self._most()
        return verify(self._ruled(rule), self.cfg, checkpoint, most, self.on_batch)

    def _most(self) -> tuple[dict[str, Any], float]:
        """Return the options of the rule but for `max_drop`, and the points that may be lost."""
        rule = dict(self.rule)
        asked = (rule.pop('max_drop', None), self.before.provenance.get('asked_max_drop'), self.before.max_drop)
        return rule, next((drop for drop in asked if drop is not None), MAX_DROP)

    def _know(self, index: PruningIndex) -> None:
        """Learn what the candidates cost, if nobody had to know so far."""
        if self.costs is not None:
            return
        depths = {one.kept_depths for one in candidates(index.curve, index.rule)} | {index.kept_depths}
        if self.cfg is None or 'verify' in self.targets:
            self.costs = known_costs(index, self.path)
        else:
            self.costs, self.measured = costs_at(index, self.path, depths, self.cfg, self.checkpoint)


def check_one(rule: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
    """Refuse two wishes at once.

    Args:
        rule: Options of the rule that are given.
        targets: Targets that are given.

    Raises:
        ValueError: Naming both.

    Example:
        >>> check_one({'scope': 'stage'}, {'max_params': 4e6})
        >>> check_one({'alpha': 0.5}, {'max_params': 4e6})
        Traceback (most recent call last):
        ...
        ValueError: max_params is 4000000.0 and alpha is 0.5; each decides on its own: give one of them
    """
    # Points that may be lost are what `sure` and `verify` look for; what is named by hand is read by no rule.
    readings = [name for name in rule if name in READINGS and name != 'reference']
    in_points = [name for name in readings if name != 'max_drop']
    unread = {'sure': in_points, 'verify': in_points, 'depths': list(rule)}
    for name, value in targets.items():
        others = [other for other in targets if other != name] + unread.get(name, readings)
        if others:
            other = {**rule, **targets}[others[0]]
            raise ValueError(
                f'{name} is {value!r} and {others[0]} is {other!r}; each decides on its own: give one of them'
            )
