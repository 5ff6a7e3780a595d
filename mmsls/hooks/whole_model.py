"""Refuse runs whose processes hold parts of a model: what is read and stored of a backbone needs it whole."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel

WHOLE = ('SingleDeviceStrategy', 'DDPStrategy')
"""Strategies of `FlexibleRunner` that leave the model whole in every process."""


def refusal(name: str) -> str:
    """Return what is said of a wrapper or strategy that shards."""
    return (
        f'{name} spreads a model over the processes, and a slim checkpoint, a pruning index and bridges need the '
        "backbone whole; take strategy=dict(type='DDPStrategy'), or leave runner_type, strategy and model_wrapper_cfg "
        'out: a frozen base has no gradients and no optimizer state, so DDP holds one copy of it and no more'
    )


def check_whole(runner: Any) -> None:
    """Refuse a runner that shards its model; DDP and a single process are fine.

    Args:
        runner: MMEngine's `Runner` or `FlexibleRunner`, its model built.

    Raises:
        ValueError: Naming the strategy or the wrapper (FSDP, DeepSpeed, ColossalAI), and what to take instead.
    """
    strategy = getattr(runner, 'strategy', None)
    if strategy is not None and shards(type(strategy)):
        raise ValueError(refusal(type(strategy).__name__))
    model = runner.model
    while is_model_wrapper(model):
        if isinstance(model, FullyShardedDataParallel):
            raise ValueError(refusal(type(model).__name__))
        model = model.module


def shards(strategy: type) -> bool:
    """Whether a strategy is none of those that leave the model whole; `FSDPStrategy` derives from DDP's."""
    names = [base.__name__ for base in strategy.__mro__]
    return 'FSDPStrategy' in names or not any(name in WHOLE for name in names)
