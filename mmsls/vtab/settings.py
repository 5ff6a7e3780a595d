"""From a VTAB-1k config to the config of one task, one seed, one budget."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mmengine.config import Config

from mmsls.adapters import adapter_class
from mmsls.chain.configs import without_sls_hook
from mmsls.registry import names_class
from mmsls.vtab.facts import TaskFacts, facts_of

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def for_task(cfg: Config, task: str, data_root: str | None = None) -> Config:
    """Return a copy of a config for one task: its data, its number of classes, its adapter scale.

    Args:
        cfg: Config of any task; its data sets are `mmsls.VTAB1k`.
        task: Name of the task: one that is known, or any folder under the root with the lists of one.
        data_root: Folder that holds one folder per task; None leaves the config's.

    Raises:
        ValueError: If there is no such task, its lists don't number its classes, or the config reads other data sets.
        FileNotFoundError: If its lists are not there.
    """
    cfg = deepcopy(cfg)
    for loader in filter(None, map(cfg.get, LOADERS)):
        if not names_class(loader.dataset.get('type'), 'VTAB1k'):
            raise ValueError(
                f"config: its data sets must be of type 'mmsls.VTAB1k', got {loader.dataset.get('type')!r}"
            )
        loader.dataset.task = task
        if data_root is not None:
            loader.dataset.data_root = data_root
    facts = facts_of(task, cfg.train_dataloader.dataset.data_root)
    cfg.model.head.num_classes = facts.classes
    if cfg.model.backbone.get('adapter') is not None:
        cfg.model.backbone.adapter.update(adapter_facts(cfg.model.backbone.adapter, facts))
    return cfg


def adapter_facts(adapter: Any, facts: TaskFacts) -> dict[str, Any]:
    """Return the arguments that the method's author sets per task; none where adapter or task was not part of that."""
    settings = {
        'Convpass': {'scale': facts.convpass_scale, 'xavier_init': facts.convpass_xavier_init},
        'RepAdapter': {'scale': facts.repadapter_scale},
    }
    of_adapter = settings.get(adapter_class(adapter).__name__, {})
    return {name: value for name, value in of_adapter.items() if value is not None}


def for_epochs(cfg: Config, epochs: int) -> Config:
    """Return a copy of a config with another number of epochs, its schedule stretched or shortened to fit.

    Raises:
        ValueError: If the number is below 1.
    """
    if epochs < 1:
        raise ValueError(f'epochs must be at least 1, got {epochs}')
    cfg = deepcopy(cfg)
    share = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.get('param_scheduler') or []:
        if not scheduler.get('by_epoch', True):
            continue
        if 'begin' in scheduler:
            scheduler.begin = min(stretched(scheduler.begin, share), epochs - 1)
        for name in ('end', 'T_max'):
            if scheduler.get(name) is not None:
                scheduler[name] = max(1, stretched(scheduler[name], share))
        if 'milestones' in scheduler:
            scheduler.milestones = [stretched(epoch, share) for epoch in scheduler.milestones]
        if 'T_max' in scheduler and 'end' in scheduler:
            scheduler.T_max = max(1, scheduler.end - scheduler.get('begin', 0))
    return cfg


def for_retraining(cfg: Config, lr: float | None = None, epochs: int | None = None) -> Config:
    """Return a copy of a config that retrains otherwise than it tunes, and does not score.

    Args:
        cfg: Config of a task.
        lr: Constant learning rate (1e-5 is the author's other setting); None leaves rate and schedule as they are.
        epochs: Number of epochs; None leaves it as it is.

    Raises:
        ValueError: If the rate is not above 0, or the number below 1.
    """
    cfg = without_sls_hook(cfg) if epochs is None else for_epochs(without_sls_hook(cfg), epochs)
    if lr is not None:
        if not lr > 0:
            raise ValueError(f'retrain_lr must be above 0, got {lr}')
        cfg.optim_wrapper.optimizer.lr, cfg.param_scheduler = lr, []
    return cfg


def stretched(epoch: int, share: float) -> int:
    """Return where an epoch of the schedule moves; a part of it never vanishes.

    Example:
        >>> stretched(10, 0.2), stretched(10, 0.05), stretched(0, 0.2)
        (2, 1, 0)
    """
    return max(1, round(epoch * share)) if epoch else 0


def for_machine(cfg: Config, workers: int | None = None, batch_size: int | None = None) -> Config:
    """Return a copy of a config with other loader settings; None leaves one as it is."""
    cfg = deepcopy(cfg)
    for loader in filter(None, map(cfg.get, LOADERS)):
        if workers is not None:
            loader.num_workers, loader.persistent_workers = workers, workers > 0
        if batch_size is not None:
            loader.batch_size = batch_size
    return cfg
