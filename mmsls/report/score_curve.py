"""The score curve: what the rule saw, and where it cut."""

from __future__ import annotations

from pathlib import Path

from mmsls.files.writing import whole_file
from mmsls.pruning_index import PruningIndex

KEPT, REMOVED = '#1b6ca8', '#c8553d'


def draw_score_curve(index: PruningIndex, path: str | Path) -> None:
    """Draw every block's score, the thresholds, and which blocks stay, to a PNG file.

    Args:
        index: What to draw.
        path: Where the figure goes.
    """
    from matplotlib.figure import Figure

    depths = index.backbone['depths']
    figure = Figure(figsize=(7, 3.2), layout='constrained')
    axes = figure.subplots()
    first, kept = 0, set(index.kept_blocks)
    for stage, depth in enumerate(depths):
        x = range(first + 1, first + depth + 1)
        y = [index.scores[stage, block] for block in range(depth)]
        axes.plot(x, y, color='0.7', zorder=1)
        axes.scatter(x, y, color=[KEPT if (stage, block) in kept else REMOVED for block in range(depth)], zorder=2)
        of_stage = index.thresholds[stage:] if index.scope == 'stage' else index.thresholds  # by hand there is none
        threshold = of_stage[0] if of_stage else None
        if threshold is not None and depth:
            axes.hlines(threshold, first + 0.6, first + depth + 0.4, color='0.3', linestyles='dashed', linewidth=1)
        if stage:
            axes.axvline(first + 0.5, color='0.9', linewidth=1, zorder=0)
        first += depth
    for colour, label in ((KEPT, 'kept'), (REMOVED, 'pruned')):
        axes.scatter([], [], color=colour, label=label)
    axes.plot([], [], color='0.3', linestyle='dashed', linewidth=1, label='threshold')
    metric = index.provenance.get('metric')
    unit = f'{index.curve.unit} of {metric}, bridged' if metric else index.curve.unit
    axes.set(xlabel='block, bottom to top', ylabel=unit, xticks=range(1, first + 1))
    axes.set_title(
        f'{tuple(index.kept_depths)} of {tuple(depths)} blocks kept, {index.told}',
        fontsize=10,
    )
    axes.legend(fontsize=8)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150)
