"""Curves of other criteria beside one that looks at no features: one more pass over the images, after it is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.logging import print_log

from mmsls.criteria import build_criterion
from mmsls.criteria.choosing import described
from mmsls.features.also import OtherCurve, usual_rule
from mmsls.features.scorer import BlockScorer
from mmsls.runs.building import merge_adapters


def more_curves(
    model: Any,
    options: Mapping[str, Any],
    loader: Any,
    split: str,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[OtherCurve]:
    """Return what the criteria of `also` say, from a pass of their own. Call it on every rank.

    Whatever fails in it is said in the log and in the result, and ends no run.

    Args:
        model: The (unwrapped) model, whose adapters are merged; whoever needs it otherwise is done with it.
        options: Arguments of `BlockScorer`, as `scoring_options` settles them.
        loader: The images.
        split: What to call them in the indexes.
        on_batch: Called with (batches done, batches in all).
    """
    first, *rest = options['also']
    names = [str(described(one)['type']) for one in options['also']]
    built = build_criterion(first)
    rule = usual_rule(built.kind, built.unit, options['rule'])
    try:
        scorer = BlockScorer(model, **{**options, 'criterion': first, 'rule': rule, 'also': rest})
        merge_adapters(scorer.backbone)
        scorer.check_data(loader.dataset)
        try:
            scorer.collect(loader, on_batch)
        except Exception as error:  # the other processes learn of it below
            scorer.give_up(error)
        _, index = scorer.finish(split)
    except Exception as error:  # curves to look at are worth no run
        failure = str(error) if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'
        print_log(f'SLS: {", ".join(names)} have no curve here: {failure}', 'current', logging.WARNING)
        return [OtherCurve(name, None, failure) for name in names]
    return [OtherCurve(names[0], index), *scorer.others]
