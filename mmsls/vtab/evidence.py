"""What the methods are judged by: one pass over a task's training images, and single batches."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from mmsls import runs
from mmsls.criteria import Evidence
from mmsls.features.labelled import whole_sampler
from mmsls.features.scorer import BlockScorer


def gather_evidence(cfg: Config, checkpoint: str, seed: int) -> Evidence:
    """Record all training images' features once, with the test transform; batches come in a seeded random order.

    All of it is the same on every rank, and the same as in one process.
    """
    model: Any = runs.build_model(cfg, checkpoint).to(get_device())
    scorer = BlockScorer(model, **runs.scoring_options(cfg))
    dataloader = runs.split_dataloader(cfg, runs.default_split(cfg))
    loader: Any = Runner.build_dataloader(dataloader, seed=seed)
    scorer.collect(loader)
    features, labels, _ = scorer.collected()
    # Lists are often sorted by class, and some criteria look at the first batches only.
    dataloader.sampler = whole_sampler(loader.dataset, seed)
    dataloader.dataset = loader.dataset
    shuffled: Any = Runner.build_dataloader(dataloader, seed=seed)
    return Evidence(model, scorer.backbone, shuffled, features, labels, seed)
