"""What a curve says in plain words, and what to try: where there is nothing to prune, or too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmsls.pruning_index import PruningIndex
from mmsls.report.advice_texts import (
    BACKGROUND,
    BY_HAND,
    FEW,
    IN_POINTS,
    MORE,
    ONE_CLASS,
    PROBE,
    SHARE,
    TEST_CUT,
    TEXTS,
    TEXTS_IN_POINTS,
    TUNE,
    UNTUNED,
)
from mmsls.scoring.curve import POINTS, is_real
from mmsls.scoring.rule import Rule
from mmsls.scoring.stability import name_of

NOISE = {'silhouette': 0.05, POINTS: 1.0}
"""What a value may move by without any cause worth a word, by unit."""
ZERO = {'silhouette': 0.05, POINTS: 5.0}
"""How far above guessing the best block must be for the curve to say anything."""
JUDGES_SAMPLES = ('Probe', 'NCM', 'KNN')
"""Criteria whose points are an accuracy: guessing among C classes gets 100 / C of them."""
FEW_BLOCKS = 3
"""Fewer blocks have no shape; their stages count only where there are no others."""
FEW_SAMPLES, FEW_OF_A_CLASS, FEW_IMAGES = 100, 5, 30
"""Fewer samples in all, of a class on average, or images that judge a model, leave the curve to chance."""


@dataclass(frozen=True)
class Advice:
    """What a curve says.

    Attributes:
        case: Its kind: `step`, `flat_high`, `flat_zero`, `slope`, `fallen_top`, `few`, `untuned`, `one_class`,
            `whole`, `share` or `by_hand`.
        text: In plain words, what was found and what it means.
        tries: What to try, each with the key of its how-to (`mmsls.report.how_to_texts`).
    """

    case: str
    text: str
    tries: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Group:
    """The blocks that a rule reads together: those of a stage, or of the model (stage 0)."""

    values: tuple[float, ...]
    kept: int
    where: int

    @property
    def whole(self) -> bool:
        """Whether all of it is kept."""
        return self.kept == len(self.values)


def advise(index: PruningIndex) -> list[Advice]:
    """Return what an index says in plain words: doubts about the samples first, then the shape of the curve.

    Example:
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(4,))
        >>> high = PruningIndex.create(scores={(0, block): 0.6 for block in range(4)}, backbone=vit)
        >>> [advice.case for advice in advise(high)]
        ['flat_high']
    """
    about = index.provenance
    found = [advice for advice in (_one_class(about), _few(about)) if advice]
    if index.chosen is not None and index.chosen.by_hand:
        kept, full = name_of(index.kept_depths), name_of(index.foundation.depths)
        return [*found, Advice('by_hand', BY_HAND.format(kept=kept, full=full), (TEST_CUT, IN_POINTS))]
    if index.rule.keep is not None:
        return [*found, Advice('share', SHARE.format(keep=index.rule.keep), (TEST_CUT,))]
    shape = _shape(index)
    if about.get('checkpoint') == 'untuned' and shape.case not in ('step', 'flat_high'):
        return [*found, Advice('untuned', UNTUNED.format(text=shape.text), (TUNE, PROBE))]
    return [*found, shape]


def _one_class(about: dict[str, Any]) -> Advice | None:
    if about.get('classes') != 1:
        return None
    return Advice('one_class', ONE_CLASS, (IN_POINTS, BACKGROUND))


def _few(about: dict[str, Any]) -> Advice | None:
    samples, classes, images = (_count(about, name) for name in ('samples', 'classes', 'images'))
    if samples is not None:
        if samples >= FEW_SAMPLES and (not classes or samples / classes >= FEW_OF_A_CLASS):
            return None
        told = f'{samples} samples' + (f' of {classes} classes' if classes else '')
    elif images is not None and images < FEW_IMAGES:
        told = f'{images} images'
    else:
        return None
    return Advice('few', FEW.format(told=told), (MORE,))


def _count(about: dict[str, Any], name: str) -> int | None:
    value: Any = about.get(name)
    return int(value) if is_real(value) and value >= 0 else None


def _shape(index: PruningIndex) -> Advice:
    """Return the case that holds for most blocks, with the stages that it holds for."""
    every = groups_of(index)
    groups = [group for group in every if len(group.values) >= FEW_BLOCKS] or every
    cases = [case_of(group, index.rule, index.curve.unit, floor_of(index)) for group in groups]
    weights = {case: sum(len(g.values) for g, of in zip(groups, cases, strict=True) if of == case) for case in cases}
    order = tuple(TEXTS)
    case = max(cases, key=lambda name: (weights[name], -order.index(name)))
    inside = [group for group, of in zip(groups, cases, strict=True) if of == case]
    values = [value for group in inside for value in group.values]
    low, high = (
        f'{value:.1f}' if index.curve.unit == POINTS else f'{value:.2f}' for value in (min(values), max(values))
    )
    kept = f'{sum(index.kept_depths)} of {sum(index.foundation.depths)} blocks stay'
    where = _places(inside, len(every))
    text, tries = TEXTS[case]
    if case in ('flat_high', 'slope') and index.rule.max_drop is not None:
        text, tries = TEXTS_IN_POINTS[case]
    told = text.format(low=low, high=high, kept=kept, where=where, unit=index.curve.unit, asked=index.rule.told)
    return Advice(case, told, tries)


def groups_of(index: PruningIndex) -> list[Group]:
    """Return the groups of blocks that an index' rule reads."""
    stages = index.curve.to_lists()
    if index.rule.scope == 'model':
        return [Group(tuple(value for stage in stages for value in stage), sum(index.kept_depths), 0)]
    return [
        Group(tuple(values), kept, number)
        for number, (values, kept) in enumerate(zip(stages, index.kept_depths, strict=True))
        if values
    ]


def floor_of(index: PruningIndex) -> float | None:
    """Return what guessing reaches in the curve's unit; None where that is not known."""
    chance: Any = getattr(index.curve, 'chance', None)
    if is_real(chance):
        return float(chance)
    if index.curve.unit == POINTS and index.criterion.get('type') in JUDGES_SAMPLES:
        classes = _count(index.provenance, 'classes')
        return 100.0 / classes if classes else 0.0
    return 0.0 if index.curve.unit in NOISE else None


def case_of(group: Group, rule: Rule, unit: str, floor: float | None) -> str:
    """Return the shape of one group's curve."""
    values, best = group.values, max(group.values)
    height = best - (min(values) if floor is None else floor)
    noise = NOISE.get(unit, 0.0)
    if floor is not None and height <= ZERO.get(unit, 0.0):
        return 'flat_zero'
    reads_top = rule.max_drop is None and rule.reference == 'top'
    if reads_top and group.whole and len(values) > 1 and values[-1] < best - max(noise, 0.1 * height):
        return 'fallen_top'
    if is_flat(values, floor, height, rule) and not group.whole:
        return 'flat_high'
    if not group.whole:
        return 'step'
    return 'slope' if len(values) > 1 and best > min(values) + noise else 'whole'


def is_flat(values: Sequence[float], floor: float | None, height: float, rule: Rule) -> bool:
    """Whether even the lowest blocks do about as well as the best: there is no step that a threshold could find."""
    if len(values) < FEW_BLOCKS:
        return False
    if rule.max_drop is not None:
        return max(values) - min(values) <= rule.max_drop
    return floor is not None and min(values) - floor >= 0.5 * height


def _places(groups: Sequence[Group], of: int) -> str:
    """Name groups: the model, or some of its stages."""
    if len(groups) == of:
        return 'the model'
    names = [str(group.where) for group in groups]
    return f'stage {names[0]}' if len(names) == 1 else f'stages {", ".join(names[:-1])} and {names[-1]}'
