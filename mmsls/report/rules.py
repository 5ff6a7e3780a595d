"""What other rules would keep of the same curve: read from the index, no forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId
from mmsls.scoring.curve import POINTS


@dataclass(frozen=True)
class Reading:
    """What a rule keeps.

    Attributes:
        name: The rule, short.
        told: The rule, in words.
        kept_depths: How many blocks of every stage stay.
        kept_blocks: Which ones.
        decided: Whether it is what the index says.
    """

    name: str
    told: str
    kept_depths: tuple[int, ...]
    kept_blocks: tuple[BlockId, ...]
    decided: bool = False


PUBLISHED = ('alpha 0.3', 'as published: down to 0.3 of the top block', {'alpha': 0.3, 'reference': 'top'})
UP_TO_BEST = ('up to best', 'up to the best block (reference peak, alpha 1)', {'alpha': 1.0, 'reference': 'peak'})
OF_DEPTHS: tuple[tuple[str, str, dict[str, Any]], ...] = (PUBLISHED, UP_TO_BEST)
IN_POINTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    UP_TO_BEST,
    ('max_drop 1', 'within 1 point of the best block', {'max_drop': 1.0}),
    ('max_drop 2', 'within 2 points of the best block', {'max_drop': 2.0}),
)
OF_SHARES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ('keep 0.75', 'the 75 % most important blocks', {'keep': 0.75}),
    ('keep 0.5', 'the 50 % most important blocks', {'keep': 0.5}),
)


def readings(index: PruningIndex) -> list[Reading]:
    """Return what was decided, and what the usual rules would keep of the same curve.

    Example:
        >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(4,))
        >>> index = PruningIndex.create(scores={(0, b): 0.1 * b for b in range(4)}, backbone=vit, alpha=0.9)
        >>> [(reading.name, reading.kept_depths) for reading in readings(index)]
        [('decided', (4,)), ('alpha 0.3', (2,)), ('up to best', (4,))]
    """
    of_depths = IN_POINTS if index.curve.unit == POINTS else OF_DEPTHS
    rules = of_depths if index.rule.keep is None else OF_SHARES
    others = [(name, told, index.decide(**options)) for name, told, options in rules]
    same = next((f' ({told})' for _, told, other in others if index.chosen is None and other.rule == index.rule), '')
    decided = Reading('decided', f'decided: {index.told}{same}', index.kept_depths, index.kept_blocks, True)
    return [
        decided,
        *(
            Reading(name, told, other.kept_depths, other.kept_blocks)
            for name, told, other in others
            if index.chosen is not None or other.rule != index.rule
        ),
    ]
