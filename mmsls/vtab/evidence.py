"""What the methods are judged by: one pass over a task's training images, and single batches."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from mmsls import runs
from mmsls.block_scorer import find_backbone, scorer_options
from mmsls.criteria import Evidence
from mmsls.features import FeatureBank, FeatureRecorder, RecordWalk
from mmsls.features.tasks import build_sampler


@torch.no_grad()
def gather_evidence(cfg: Config, checkpoint: str, seed: int) -> Evidence:
    """Record the features of all training images once, with the test transform; the batches come in a seeded random order."""
    model: Any = runs.build_model(cfg, checkpoint).to(get_device())
    options = scorer_options(runs.sls_settings(cfg), cfg.get('default_scope'))
    backbone, sampler = find_backbone(model), build_sampler(options['sampler'])
    dataloader = runs.split_dataloader(cfg, runs.default_split(cfg))
    loader: Any = Runner.build_dataloader(dataloader, seed=seed)
    bank = FeatureBank(options.get('max_samples', 2000), options.get('seed', 0))
    with FeatureRecorder(backbone, getattr(sampler, 'after_merging', False)) as recorder:
        walk = RecordWalk(loader)
        sampler.prepare(loader.dataset)
        for number, batch in enumerate(loader):
            outputs = model.test_step(batch)
            bank.add(sampler(recorder.take(), outputs, walk.of_batch(number, len(outputs))))
    bank.gather()
    features, labels, _ = bank.to_arrays()
    # Lists are often sorted by class, and some criteria look at the first batches only.
    dataloader.sampler = {'type': 'DefaultSampler', 'shuffle': True}
    shuffled: Any = Runner.build_dataloader(dataloader, seed=seed)
    return Evidence(model, backbone, shuffled, features, labels, seed)
