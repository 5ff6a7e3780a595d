"""Which criterion a name means, and which blocks follow from what it gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmsls.criteria.base import CRITERIA, Criterion, Needs
from mmsls.registry import short_name
from mmsls.scoring import BlockId, Curve, choose_depths
from mmsls.scoring.subset import lowest_blocks, most_important


def build_criterion(cfg: str | type | Mapping[str, Any]) -> Any:
    """Build a criterion from its name, its class or its config.

    Raises:
        ValueError: If there is no such criterion, or it does not take the arguments.

    Example:
        >>> build_criterion({'type': 'mmsls.LinearProbe', 'folds': 5}).folds
        5
    """
    given = dict(cfg) if isinstance(cfg, Mapping) else {'type': cfg}
    kind = given.pop('type', None)
    names = {name.lower(): name for name in CRITERIA.module_dict}
    name = short_name(kind)
    found = kind if isinstance(kind, type) else CRITERIA.module_dict.get(names.get(str(name).lower(), ''))
    if found is None:
        raise ValueError(f'criterion: unknown criterion {kind!r}; known: {", ".join(sorted(CRITERIA.module_dict))}')
    try:
        inspect.signature(found).bind(**given)
    except TypeError as error:
        arguments = ', '.join(inspect.signature(found).parameters) or 'none'
        raise ValueError(f'criterion: {error} for {found.__name__}; its arguments are {arguments}') from error
    return found(**given)


def described(cfg: str | type | Mapping[str, Any]) -> dict[str, Any]:
    """Return what an index records of a criterion: its name, and the arguments that were given.

    Example:
        >>> described('mmsls.LinearProbe')
        {'type': 'LinearProbe'}
    """
    given = dict(cfg) if isinstance(cfg, Mapping) else {}
    return {**given, 'type': type(build_criterion(cfg)).__name__}


def needs_of(criterion: Any) -> Needs:
    """Return what a criterion looks at.

    Example:
        >>> needs_of(build_criterion('sls')), needs_of(build_criterion('Taylor'))
        ('features', 'loss')
    """
    return getattr(criterion, 'needs', 'features')


def kept_blocks(
    criterion: Criterion, scores: Mapping[BlockId, float], *, count: int, **decision: Any
) -> tuple[BlockId, ...]:
    """Return the blocks that a criterion keeps, bottom first.

    Args:
        criterion: Where the scores come from; its kind decides how they are used.
        scores: Its number for every block.
        count: How many blocks a criterion of kind `'importance'` keeps.
        **decision: Options of `Rule`, for a criterion of kind `'depth'`, which finds its own depth.

    Raises:
        ValueError: If the count is not between 1 and the number of blocks.

    Example:
        >>> from mmsls.criteria import Random
        >>> kept_blocks(Random(), {(0, 0): 0.9, (0, 1): 0.1, (0, 2): 0.5}, count=2)
        ((0, 0), (0, 2))
    """
    if not 1 <= count <= len(scores):
        raise ValueError(f'count must be between 1 and the {len(scores)} blocks, got {count}')
    if criterion.kind == 'depth':
        return lowest_blocks(choose_depths(Curve(scores, criterion.unit), **decision))
    return most_important(scores, count)


def check_block_scores(name: str, scores: Mapping[BlockId, float]) -> None:
    """Refuse scores that say nothing.

    Raises:
        ValueError: If one is NaN.
    """
    wrong = [block for block, score in scores.items() if np.isnan(score)]
    if wrong:
        raise ValueError(
            f'criterion {name}: the score of block {wrong[0]} is NaN; check that the training did not diverge'
        )
