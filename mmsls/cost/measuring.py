"""What configs cost, side by side: the rows of a table, filled in by running their models in turns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from logging import WARNING
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmsls.cost.complexity import ParameterCounts, count_macs, count_parameters, latencies, training_bytes
from mmsls.cost.deployed import as_deployed


@dataclass
class Row:
    """One line of the final table.

    Attributes:
        name: Of the chain's stage: `full`, `tuned`, `pruned`, `retrained` and their like.
        depths: Blocks per stage.
        metrics: Test metrics, empty where nothing was trained.
        parameters: Total, trained and stored numbers.
        macs: Multiply-accumulates of one test image.
        latency: Median seconds of one test image, all rows in turns in one process; 0 where it was not measured.
        merged: Whether multiply-accumulates and latency are of the model with its adapters folded into the base.
        memory: Bytes that a training step on two images adds to the model's own (`training_bytes`); 0 where it could
            not be measured.
    """

    name: str
    depths: tuple[int, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: ParameterCounts | None = None
    macs: int = 0
    latency: float = 0.0
    memory: int = 0
    merged: bool = False


def measure(rows: Sequence[Row], models: Sequence[nn.Module], batch: Any, timed: Collection[str] | None = None) -> None:
    """Fill in what each row's model costs: parameters, multiply-accumulates and latency on a batch, models in turns.

    What runs is what one would deploy: adapters that merge are folded into the base (`as_deployed`). The parameters
    are those of the model as it was trained.

    Args:
        rows: To fill in.
        models: One per row.
        batch: What they run on.
        timed: Names of the rows that get a latency; by default all. How long a detector takes depends on what its head
            predicts, so the time of one that was never trained says nothing.
    """
    forwards: dict[str, Callable[[], object]] = {}
    for row, model in zip(rows, models, strict=True):
        deployed = as_deployed(model)
        row.merged = deployed is not model
        forwards[row.name] = partial(run_once, deployed, batch)
        row.parameters, row.macs = count_parameters(model), count_macs(forwards[row.name])
    names = [row.name for row in rows if timed is None or row.name in timed]
    seconds = latencies({name: forwards[name] for name in names}) if names else {}
    for row in rows:
        row.latency = seconds.get(row.name, 0.0)


def measure_training(rows: Sequence[Row], models: Sequence[nn.Module], batch: Any) -> None:
    """Fill in the memory of a training step of each row's model on a batch; normalisation layers see that batch."""
    for row, model in zip(rows, models, strict=True):
        try:
            row.memory = training_bytes(model.train(), partial(losses, model, batch))
        except Exception as error:  # a loss may refuse two images, the device lack room; no reason to lose the table
            print_log(f'{row.name}: the memory of a training step was not measured: {error}', 'current', WARNING)


def losses(model: Any, batch: Any) -> Any:
    """Return the losses of a training step on a batch that stays as it is."""
    return model(**model.data_preprocessor(deepcopy(batch), training=True), mode='loss')


@torch.no_grad()
def run_once(model: Any, batch: Any) -> None:
    """Run a model on a batch that stays as it is (data preprocessors work in place)."""
    model.test_step(deepcopy(batch))


def first_images(cfg: Config, split: str, count: int = 1) -> Any:
    """Return the first images of a split as one batch."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    loader = deepcopy(cfg[f'{split}_dataloader'])
    loader.batch_size, loader.num_workers, loader.persistent_workers, loader.drop_last = count, 0, False, False
    loader.pop('prefetch_factor', None)
    # Without a seed, samplers agree on one with the other processes.
    return next(iter(Runner.build_dataloader(loader, seed=0)))
