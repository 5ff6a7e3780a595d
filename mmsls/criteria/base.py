"""What a criterion is, what it may look at, and which blocks follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from mmengine.registry import Registry

from mmsls.backbones import PrunedBackbone
from mmsls.scoring import BlockId
from mmsls.scoring.curve import POINTS, is_int

CRITERIA = Registry('criterion', scope='mmsls', locations=['mmsls.criteria'])


class Judge(Protocol):
    """Who says what a model's outputs are worth."""

    def process(self, outputs: Sequence[Any], batch: Any) -> None:
        """Take what a model made of a batch."""

    def points(self) -> tuple[str, float]:
        """Return the metric's name and its value in percent, over all processes."""

    @property
    def chance(self) -> float:
        """What guessing reaches, in percent, once `points` was asked for."""


class Parts(NamedTuple):
    """What several judges say of the same random parts of the images.

    Attributes:
        points: (rounds, judges), in percent.
        kept: Images of a part.
        size: Images of all.
    """

    points: list[list[float]]
    kept: int
    size: int


class Trial(Protocol):
    """What a criterion that tries the model out has for it."""

    @property
    def on_batch(self) -> Callable[[int, int], None] | None:
        """Called with (batches done, batches in all), if anybody watches."""

    def training(self, images: int) -> Any:
        """Return a loader of at most so many training images, as `test_step` takes them."""

    def validation(self) -> Any:
        """Return a loader of the images that judge."""

    def judge(self, loader: Any) -> Judge:
        """Return a new judge for one pass over a loader of `validation`."""

    def on_parts(self, judges: Sequence[Any], rounds: int, seed: int = 0) -> Parts | str:
        """Return what judges say of random parts of the images, or why they cannot; the same in every process."""


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at: the tuned model, and what one pass over the training images recorded.

    Attributes:
        model: The tuned model at full depth, in eval mode.
        backbone: Its backbone.
        batches: Labelled training images, batch by batch in random order, as the model's `data_preprocessor` takes
            them; for a criterion that needs `'loss'`, and in VTAB. Read no more of them than needed.
        features: Per block, (n, d): what SLS scores.
        labels: (n,).
        seed: Of whatever a criterion draws.
        trial: Images and evaluator, for a criterion that needs `'trial'`.
    """

    model: Any
    backbone: PrunedBackbone
    batches: Iterable[Any]
    features: Mapping[BlockId, np.ndarray]
    labels: np.ndarray
    seed: int = 0
    trial: Trial | None = None


Needs = Literal['features', 'model', 'loss', 'trial']
"""What a criterion looks at."""


class Criterion(Protocol):
    """What gives every block a finite number; a larger one says that the block matters more.

    It leaves the model as it was, and gives the same numbers in every process of a run.

    Attributes:
        kind: `'importance'`: of the block itself, so that the least important ones can go wherever they are; it chooses
            blocks, as many as `Rule(keep=...)` says. `'depth'`: how good the features are up to this block, so that, as
            in SLS, all blocks above a depth go; it chooses a depth, by `alpha` or `max_drop`.
        unit: What its numbers count, see `mmsls.scoring.Curve`.
        default_scope: Scope of the rule where none is set; absent: the sampler's.
        needs: What it looks at in the evidence besides the model. `'features'`, which holds where it is absent:
            labelled features of every block, recorded in a pass that runs anyway. `'model'`: nothing. `'loss'`:
            `batches`. `'trial'`: `trial`. Only who needs features gets any.
        maps: Where its last call put the samples in the plane, by block, (n, 2) in [0, 1]; absent: it draws none.
    """

    kind: Literal['importance', 'depth']
    unit: str
    needs: Needs

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""


class FeatureCriterion:
    """A criterion that looks at the features of one block at a time and at their labels: only `score` is to be written.

    The processes of a run share its blocks. It works through `SLSHook(criterion=...)`, `mmsls score --criterion`,
    and in VTAB.

    Example:
        >>> @CRITERIA.register_module(force=True)
        ... class Spread(FeatureCriterion):
        ...     unit = 'spread'
        ...     def score(self, features, labels, seed):
        ...         return float(features.std())
        >>> Spread().score(np.eye(2), np.array([0, 1]), seed=0)
        0.5
    """

    kind: ClassVar[Literal['importance', 'depth']] = 'depth'
    unit: ClassVar[str] = 'score'

    def score(self, features: np.ndarray, labels: np.ndarray, seed: int) -> float:
        """Return how good a block's features are, a larger number for better ones.

        Args:
            features: (n, d), float32.
            labels: (n,), class numbers.
            seed: Of whatever is drawn.
        """
        raise NotImplementedError(f'{type(self).__name__} has no score()')

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block whose features are there."""
        return {block: self.score(x, evidence.labels, evidence.seed) for block, x in evidence.features.items()}


class AccuracyCriterion(FeatureCriterion):
    """A criterion in points that judges sample by sample: only `hits` is to be written.

    `Rule(max_drop=...)` reads its curve, and whoever scores by it also learns how sure the decision is (see
    `mmsls.scoring.stability`).

    Example:
        >>> class First(AccuracyCriterion):
        ...     def hits(self, features, labels, seed):
        ...         return labels == labels[0]
        >>> First().score(np.eye(4), np.array([0, 1, 1, 2]), seed=0)
        25.0
    """

    unit: ClassVar[str] = POINTS

    def hits(self, features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
        """Return for every sample whether it is right, by what did not see it.

        Args:
            features: (n, d), float32.
            labels: (n,), class numbers.
            seed: Of whatever is drawn.

        Returns:
            (m,), bool; which m of the samples count, and their order, follow from the labels alone, so that blocks can
            be compared sample by sample.
        """
        raise NotImplementedError(f'{type(self).__name__} has no hits()')

    def score(self, features: np.ndarray, labels: np.ndarray, seed: int) -> float:
        """Return the share of samples that are right, in percent."""
        return points_of(self.hits(features, labels, seed))


def points_of(hits: np.ndarray) -> float:
    """Return the share of hits in percent."""
    return 100.0 * int(np.count_nonzero(hits)) / len(hits)


def check_count(name: str, value: int, least: int) -> int:
    """Return an argument that counts something, or raise a ValueError that names it.

    Example:
        >>> check_count('Probe.folds', 1, 2)
        Traceback (most recent call last):
        ...
        ValueError: Probe.folds is 1; it must be a whole number of at least 2
    """
    if not is_int(value) or value < least:
        raise ValueError(f'{name} is {value!r}; it must be a whole number of at least {least}')
    return int(value)
