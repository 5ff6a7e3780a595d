"""What a config supplies to criteria that look at more than features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from mmsls.criteria.base import Needs
from mmsls.features.labelled import LabelledBatches
from mmsls.features.trial import Trial


def supplies(
    needs: Needs, cfg: Config, split: str, on_batch: Callable[[int, int], None] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return the arguments of `BlockScorer.finish` that a criterion needs: nothing, labelled batches, or a trial.

    Args:
        needs: What it looks at.
        cfg: The config.
        split: Whose images judge.
        on_batch: Called with (batches done, batches in all), for a trial.
        seed: Of the order of labelled batches.

    Raises:
        ValueError: If the config lacks it.
    """
    if needs == 'loss':
        return {'batches': LabelledBatches(cfg, seed)}
    return {'trial': Trial(cfg, split, on_batch)} if needs == 'trial' else {}
