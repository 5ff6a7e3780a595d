"""From a task to a model that infers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn

from mmsls import runs
from mmsls.backbones.base_weights import SHOWN
from mmsls.deploy.config_check import checked_config
from mmsls.deploy.task import Task
from mmsls.deploy.task_config import backbone_config


def build_task(task: Task, base_checkpoint: str | None = None, device: str = 'cpu') -> nn.Module:
    """Build a task's model in eval mode, ready for the toolboxes' inference functions.

    Args:
        task: What `read_task` returned.
        base_checkpoint: Where the base lies here; by default where it lay when the task was packed.
        device: Where the model goes.

    Raises:
        FileNotFoundError: If the base is not there.
        ValueError: If the base is another one, the config does not build, or a tensor is missing, left over or
            misshapen.
    """
    cfg = Config(checked_config(task.config.to_dict(), task.trusted))
    try:
        own = backbone_config(cfg, task.foundation.name)
    except ValueError as error:
        raise ValueError(f'task {task.name!r}: {error}') from error
    if base_checkpoint is not None:
        own['base_checkpoint'] = base_checkpoint
    model: Any = built(cfg, f'task {task.name!r}')
    load_whole(model, task.tensors(), f'task {task.name!r}')
    model.cfg, model.dataset_meta = cfg, task.dataset_meta
    return model.to(device).eval()


def built(cfg: Config, source: str) -> nn.Module:
    """Build a config's model; whatever a host raises on arguments that it cannot take becomes one error.

    Raises:
        FileNotFoundError: If the base is not there.
        ValueError: If a host refuses the config.
    """
    try:
        return runs.build_model(cfg)
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f'{source}: {str(error)[:1500]}') from error
    except Exception as error:  # asserts, missing keys and wrong types, deep in the hosts' constructors
        reason = f'{type(error).__name__}: {str(error)[:300]}'
        raise ValueError(f'{source}: its config does not build ({reason})') from error


def load_whole(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load slim weights, each of which must fit: MMEngine's loader only logs what does not.

    Raises:
        ValueError: If a tensor is missing, left over or misshapen, or belongs to another base.
    """
    try:
        model.load_state_dict(tensors)
    except (TypeError, AttributeError, KeyError) as error:  # metadata of another form
        raise ValueError(f'{source} does not fit its config ({error})') from error
    except RuntimeError as error:
        problems = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(f'{source} does not fit its config: {" ".join(problems[:SHOWN])}') from error


def with_imports(cfg: Config) -> Config:
    """Import what a config asks for, and return it; only a config file's loader does so by itself."""
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    return cfg
