"""A decision of several stages, each taken on its own, tried out as a whole."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log

from mmsls.criteria import Evidence
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.index import WHOLE


def confirmed(index: PruningIndex, criterion: Any, evidence: Evidence) -> PruningIndex:
    """Try the stages together that a decision cuts each on its own; take less where they lose too much.

    `max_drop` is lowered by the stage that loses most until what is kept loses no more than was asked for: so the
    decision still follows from the rule and the curve.

    Args:
        index: The decision.
        criterion: What made its curve, by trying the model: it has a `metric` and `together(evidence, kept)`.
        evidence: What it tried the model on.

    Returns:
        An index that says what came of it (`provenance`: `metric`, `whole`, `together`, `asked_max_drop`).
    """
    asked, whole = index.rule.max_drop, whole_of(index)
    about = {'metric': criterion.metric, WHOLE: whole}
    while sum(kept < full for kept, full in zip(index.kept_depths, index.foundation.depths, strict=True)) > 1:
        about['together'] = criterion.together(evidence, index.kept_depths)
        print_log(
            f'SLS: kept_depths {index.kept_depths} together: {about["together"]:.2f} points of {about["metric"]}, '
            f'bridged; the whole model has {whole:.2f}',
            'current',
        )
        lower = next_drop(index)
        if asked is None or whole - about['together'] <= asked or lower is None:
            break
        index = index.decide(max_drop=lower)
        about |= {'asked_max_drop': asked}
    return index.knowing(**about)


def whole_of(index: PruningIndex) -> float:
    """Return the value of the whole model: that of the top block."""
    return index.scores[max(index.scores)]


def next_drop(index: PruningIndex) -> float | None:
    """Return the next smaller `max_drop` that keeps more than an index does; None where no stage loses anything."""
    stages = index.curve.to_lists()
    drops = [max(values) - values[kept - 1] for values, kept in zip(stages, index.kept_depths, strict=True) if kept]
    worst = max(drops)
    smaller = [max(values) - value for values in stages for value in values if max(values) - value < worst]
    return max(smaller) if worst > 0 else None
