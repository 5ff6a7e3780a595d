"""What the rule keeps for each alpha, its threshold relative to the top block's score (as published) or the best's.

    python benchmarks/rule.py work_dirs/camvid/pruning_index.json ...

Reads the stored class tokens of ../shared/golden (frozen, untuned features) and any pruning indices, and trains
nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common import show

from mmsls.pruning_index import PruningIndex
from mmsls.scoring import choose_depths, layer_scores

ALPHAS = tuple(tenth / 10 for tenth in range(1, 11))
Scores = Mapping[tuple[int, int], float]


def golden(path: Path) -> Scores:
    """Score the blocks of stored features."""
    with np.load(path) as file:
        return layer_scores({(0, block): array for block, array in enumerate(file['features'])}, file['labels'])


def show_curves(curves: Mapping[str, Scores], scopes: Mapping[str, str]) -> None:
    """Print every block's score, and what each threshold keeps."""
    for number, (name, scores) in enumerate(curves.items(), start=1):
        print(
            f'{number} {name}: ' + ' '.join(f'{stage}.{block} {score:+.3f}' for (stage, block), score in scores.items())
        )
    rows = []
    for number, (name, scores) in enumerate(curves.items(), start=1):
        for reference in ('top', 'peak'):
            kept = (
                choose_depths(
                    scores,
                    alpha=alpha,
                    scope=scopes[name],
                    min_depth=int(scopes[name] == 'stage'),
                    reference=reference,
                )
                for alpha in ALPHAS
            )
            rows.append((f'{number} {reference}', *('-'.join(map(str, depths)) for depths in kept)))
    show('blocks kept at each alpha', ('scores, reference', *map(str, ALPHAS)), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('indices', type=Path, nargs='*', help='pruning_index.json files')
    parser.add_argument('--golden', type=Path, default=Path('../shared/golden'), help='folder of .npz files')
    args = parser.parse_args()
    curves = {path.stem: golden(path) for path in sorted(args.golden.glob('*.npz'))}
    scopes = dict.fromkeys(curves, 'model')
    for path in args.indices:
        index, name = PruningIndex.load(path), f'{path.parent.parent.name}/{path.parent.name}'
        curves[name], scopes[name] = index.scores, index.scope
    show_curves(curves, scopes)


if __name__ == '__main__':
    main()
