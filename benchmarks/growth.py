"""How costs grow: with samples, classes, blocks, image size and batch; a straight line on logarithmic axes for each.

    OMP_NUM_THREADS=1 python benchmarks/growth.py --figure docs/results/figures/growth.png

CPU seconds, medians of rounds in which all sizes of a curve take turns. The exponent is the slope of the least-squares
line through the logarithms; beside it stands what the algorithm promises. Random features and weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np
import torch
from bench import Turns, at_rest
from common import show
from mmengine.logging import MMLogger

from mmsls.integrations.mmdet import PrunedSwinTransformer
from mmsls.integrations.mmseg import PrunedVisionTransformer
from mmsls.scoring import layer_scores
from mmsls.scoring.hits import ridge_hits

VIT_S: dict[str, Any] = {'embed_dims': 384, 'num_heads': 6, 'img_size': 224, 'fused_attention': True}


@dataclass(frozen=True)
class Growth:
    """One cost by one size.

    Attributes:
        cost: What is timed.
        grows_with: What is varied.
        promised: What the algorithm promises.
        calls: Size to call.
    """

    cost: str
    grows_with: str
    promised: str
    calls: Mapping[int, Callable[[], object]]

    def seconds(self, repeats: int) -> dict[int, float]:
        """Return the median seconds by size."""
        turns = Turns({str(size): call for size, call in self.calls.items()}, repeats)
        return {size: median(seconds[str(size)] for seconds in turns.rounds) for size in self.calls}


def exponent(seconds: Mapping[int, float]) -> float:
    """Return the slope of the logarithms."""
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def samples(count: int, classes: int = 10, width: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) whose classes overlap, and labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    return (rng.normal(size=(count, width)) + rng.normal(size=(classes, width))[labels]).astype(np.float32), labels


def scored(count: int, blocks: int = 1) -> object:
    """Score blocks as published."""
    features, labels = samples(count)
    return layer_scores({(0, block): features for block in range(blocks)}, labels, n_jobs=1)


def probed(count: int, classes: int = 10) -> object:
    """Score a block by the probe."""
    features, labels = samples(count, classes)
    return ridge_hits(features, labels, folds=5, seed=0)


def passes(model: torch.nn.Module, batch: int, side: int) -> Callable[[], object]:
    """Return a forward pass over random images."""
    image = torch.randn(batch, 3, side, side)
    return partial(at_rest(model), image)


def growths() -> list[Growth]:
    """Return every curve."""
    swin, sides = PrunedSwinTransformer(), (224, 448, 896)
    vits = {side: PrunedVisionTransformer(**{**VIT_S, 'img_size': side}) for side in sides}
    depths = {depth: PrunedVisionTransformer(**VIT_S, kept_depths=depth) for depth in (3, 6, 12)}
    return [
        Growth('t-SNE and silhouette', 'samples', '1 to 2', {n: partial(scored, n) for n in (250, 500, 1000)}),
        Growth('t-SNE and silhouette', 'blocks', '1', {n: partial(scored, 250, n) for n in (1, 2, 4)}),
        Growth('probe', 'samples', '1', {n: partial(probed, n) for n in (1000, 2000, 4000, 8000)}),
        Growth('probe', 'classes', '0 to 1', {n: partial(probed, 4000, n) for n in (10, 30, 100)}),
        Growth('Swin-T', 'image side', '2', {side: passes(swin, 1, side) for side in sides}),
        Growth('Swin-T', 'batch', '1', {n: passes(swin, n, 224) for n in (1, 2, 4)}),
        Growth('ViT-S/16', 'image side', '2 to 4', {side: passes(vit, 1, side) for side, vit in vits.items()}),
        Growth('ViT-S/16', 'kept blocks', '1', {depth: passes(vit, 1, 224) for depth, vit in depths.items()}),
    ]


def draw(found: list[tuple[Growth, dict[int, float]]], path: Path) -> None:
    """Draw every curve in a panel of its own."""
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, (len(found) + 1) // 2, figsize=(13, 5.5), layout='constrained')
    for axes, (growth, seconds) in zip(panels.flat, found, strict=False):
        axes.loglog(list(seconds), list(seconds.values()), 'o-')
        axes.set(title=f'{growth.cost}: {exponent(seconds):.2f}', xlabel=growth.grows_with, ylabel='CPU s')
        axes.set_xticks(list(seconds), list(map(str, seconds)))
        axes.minorticks_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3, help='(%(default)s)')
    parser.add_argument('--figure', type=Path, help='where the curves are drawn')
    args = parser.parse_args()
    torch.manual_seed(0)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    found = [(growth, growth.seconds(args.repeats)) for growth in growths()]
    rows = [
        (
            growth.cost,
            growth.grows_with,
            ' '.join(f'{size}: {value:.3g} s' for size, value in seconds.items()),
            f'{exponent(seconds):.2f}',
            growth.promised,
        )
        for growth, seconds in found
    ]
    show('How costs grow, CPU seconds', ('cost', 'with', 'seconds', 'exponent', 'promised'), rows)
    if args.figure:
        draw(found, args.figure)
        print(f'wrote {args.figure}')


if __name__ == '__main__':
    main()
