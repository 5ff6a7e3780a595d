"""What every depth costs: from the file beside an index, or measured now and left there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from mmengine.config import Config

from mmsls.cost.by_depth import NAME, DepthCosts, measure
from mmsls.pruning_index import PruningIndex
from mmsls.runs.configs import check_checkpoint


def known_costs(index: PruningIndex, path: str | Path) -> DepthCosts | None:
    """Return what lies in the file of costs beside an index; None where there is none.

    Args:
        index: The index.
        path: Its file.

    Raises:
        ValueError: If the file is damaged, or of another backbone.
    """
    beside = costs_path(path)
    return DepthCosts.load(beside, index.backbone) if beside.exists() else None


def costs_at(
    index: PruningIndex,
    path: str | Path,
    depths: Collection[tuple[int, ...]],
    cfg: Config | None = None,
    checkpoint: str | None = None,
) -> tuple[DepthCosts, bool]:
    """Return what a model costs at some depths, and whether that was measured now.

    Args:
        index: The index.
        path: Its file, beside which the costs lie.
        depths: Which must be known.
        cfg: Config of the model, to measure it where they are not; None: it cannot be measured.
        checkpoint: Its weights at full depth; None: as it is built.

    Raises:
        ValueError: If there is no way to know them, or costs or config are of another backbone.
    """
    found, beside = known_costs(index, path), costs_path(path)
    lacking = [depth for depth in depths if found is None or found.at(depth) is None]
    if found is not None and not lacking:
        return found, False
    if cfg is None:
        what = f'lacks kept_depths {list(lacking[0])}' if found else 'does not exist'
        raise ValueError(f'depth costs {beside}: it {what}; give --config CONFIG, and every depth is measured')
    there = [row.kept_depths for row in found.rows] if found else []
    return measure(cfg, [*depths, *there], check_checkpoint(checkpoint), backbone=index.backbone), True


def costs_path(path: str | Path) -> Path:
    """Return where the costs of an index's model lie.

    Example:
        >>> costs_path('work_dirs/x/pruning_index.json').as_posix()
        'work_dirs/x/depth_costs.json'
    """
    return Path(path).expanduser().parent / NAME
