"""The maps of a run as the page has them: pictures, legend, and what its script reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mmsls.pruning_index import PruningIndex
from mmsls.report import maps
from mmsls.report.palette import MARKS, MOST, styles
from mmsls.report.run import Run
from mmsls.scoring import BlockId

NAMED = 12
"""Classes up to which a large map has their names; above, their numbers in the legend."""


def maps_view(run: Run, brief: bool = False) -> dict[str, Any] | None:
    """Return the maps of the blocks, and the legend; None where there are none.

    Args:
        run: The run.
        brief: Whether two will do: of the last block that is kept, and of the top one.
    """
    found = run.maps
    if found is None or not found.planes:
        return None
    style, counts = styles(found.labels.tolist()), Counter(found.labels.tolist())
    kept, labels = set(run.index.kept_blocks), found.labels
    shown = list(style)[:MOST]
    numbers = {label: number for number, label in enumerate(shown, 1)}
    single = len(run.index.foundation.depths) == 1

    def tile(block: BlockId, side: int) -> dict[str, Any]:
        return {
            'title': f'block {block[1]}' if single else f'stage {block[0]}, block {block[1]}',
            'source': maps.picture(found.planes[block], labels, style, side),
            'value': f'{run.index.scores[block]:.2f}',
            'kept': block in kept,
            'at': list(found.planes).index(block),
            'spots': [],
        }

    ends = sorted({max(kept & set(found.planes), default=max(found.planes)), max(found.planes)})
    large = [
        tile(block, maps.LARGE)
        | {
            'spots': [
                (found.names[spot.label] if len(shown) <= NAMED else numbers[spot.label], spot.left, spot.top)
                for spot in maps.spots(found.planes[block], labels, dict.fromkeys(shown))
            ]
        }
        for block in ends
    ]
    return {
        'tiles': [] if brief else [tile(block, maps.TILE) for block in found.planes],
        'large': large,
        'legend': [
            {
                'number': numbers[label],
                'label': label,
                'name': found.names[label],
                'count': counts[label],
                'colour': style[label].colour,
                'mark': list(MARKS).index(style[label].mark),
            }
            for label in shown
        ],
        'others': len(style) - len(shown),
        'points': maps.coordinates(found.planes),
        'labels': labels.tolist(),
        'pad': maps.PAD,
    }


def no_maps(index: PruningIndex) -> str:
    """Say why a page has no maps."""
    if index.criterion['type'] == 'SLS':
        return 'The maps are not there: the index was written without them. Score the model anew to have them.'
    return f'There are none: the criterion {index.criterion["type"]} looks at no map of the samples (SLS does).'


def class_counts(run: Run) -> list[tuple[str, int]]:
    """Return how many samples every class has, the most frequent first."""
    if run.maps is None:
        return []
    counts = Counter(run.maps.labels.tolist())
    return [
        (run.maps.names[label], count) for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
