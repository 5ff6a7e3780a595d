"""Several processes: joined by any of MMEngine's launchers, with GPUs or without, and what a config says of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.registry import STRATEGIES
from torch.distributed import init_process_group

from mmsls.hooks.whole_model import WHOLE, refusal, shards

STARTERS = {
    'pytorch': ('torchrun', 'RANK', 'LOCAL_RANK', 'WORLD_SIZE'),
    'slurm': ('srun', 'SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS'),
    'mpi': ('mpirun', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE'),
}
"""By launcher: what starts the processes, and where it says a process's number, its number on its machine, and of how
many it is one."""


def start_processes(cfg: Config) -> None:
    """Join a launcher's other processes now; MMEngine does it in a runner only, and a resumed chain may need none.

    mmengine 0.10 asks for a CUDA device whatever the backend is; without one, processes on gloo are joined here.

    Raises:
        ValueError: If what should have started the processes did not, or the backend needs a GPU and there is none.
    """
    launcher = cfg.get('launcher') or 'none'
    if launcher == 'none' or is_distributed():
        return
    settings = {'backend': 'nccl', **((cfg.get('env_cfg') or {}).get('dist_cfg') or {})}
    starter, *names = STARTERS[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f'launcher {launcher!r}: {missing[0]} is not set; start the command by {starter}, or leave --launcher out'
        )
    if get_device() != 'cpu':
        init_dist(launcher, **settings)
    elif settings['backend'] != 'gloo':
        raise ValueError(
            f'env_cfg.dist_cfg.backend {settings["backend"]!r} needs a GPU, and torch sees none; processes on the CPU '
            'take --cfg-options env_cfg.dist_cfg.backend=gloo'
        )
    else:
        join_on_cpu(names, settings)


def join_on_cpu(names: list[str], settings: dict[str, Any]) -> None:
    """Join processes that have no GPU, by gloo.

    Args:
        names: Variables of the environment, as in `STARTERS`.
        settings: The config's `env_cfg.dist_cfg`.

    Raises:
        ValueError: If it is not known where the first process is.
    """
    os.environ.update(zip(('RANK', 'LOCAL_RANK', 'WORLD_SIZE'), [os.environ[name] for name in names], strict=True))
    port = settings.pop('port', None)
    os.environ['MASTER_PORT'] = str(port or os.environ.get('MASTER_PORT', 29500))
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = first_machine(os.environ.get('SLURM_NODELIST', ''))
    if settings.get('timeout') is not None:
        settings['timeout'] = timedelta(seconds=settings['timeout'])
    init_process_group(**settings)


def first_machine(machines: str) -> str:
    """Return the first of a Slurm job's machines, such as `node[3-4]`.

    Raises:
        ValueError: If Slurm does not tell.
    """
    try:
        told = subprocess.run(['scontrol', 'show', 'hostnames', machines], capture_output=True, text=True, check=True)
        return told.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise ValueError(
            f'MASTER_ADDR is not set, and `scontrol show hostnames {machines!r}` names no machine; set MASTER_ADDR to '
            'the machine of the first process'
        ) from error


def for_runner(cfg: Config) -> Config:
    """Return a copy of a config for MMEngine's `Runner`, with the wrapper that its processes need.

    A config of `FlexibleRunner` that wraps in DDP, or not at all, means the same there: its strategy's `model_wrapper`
    and `sync_bn` are taken over. On the CPU, DDP is told of no device, since it refuses one.

    Raises:
        ValueError: If the config asks for another runner, or its strategy shards the model (FSDP, DeepSpeed,
            ColossalAI).
    """
    cfg = deepcopy(cfg)
    kind = cfg.pop('runner_type', None)
    name = kind.__name__ if isinstance(kind, type) else kind
    if name not in (None, 'Runner', 'FlexibleRunner'):
        raise ValueError(
            f"runner_type {name!r}: mmsls runs a config by MMEngine's Runner; take it out, or train by the toolbox's "
            'own train.py, where the hooks of mmsls work as well'
        )
    cfg.merge_from_dict(of_strategy(cfg.pop('strategy', None) or {}))
    if cfg.get('launcher', 'none') != 'none' and cfg.get('model_wrapper_cfg') is None and get_device() == 'cpu':
        unused = cfg.get('find_unused_parameters', False)
        cfg['model_wrapper_cfg'] = {
            'type': 'MMDistributedDataParallel',
            'device_ids': None,
            'broadcast_buffers': False,
            'find_unused_parameters': unused,
        }
    return cfg


def of_strategy(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the settings of a strategy are called in a config of `Runner`.

    Raises:
        ValueError: If it shards, or has a setting that `Runner` has no word for.

    Example:
        >>> of_strategy({'type': 'DDPStrategy', 'sync_bn': 'torch'})
        {'sync_bn': 'torch'}
    """
    kind = strategy.get('type', 'DDPStrategy')
    if kind not in WHOLE:
        found = kind if isinstance(kind, type) else STRATEGIES.get(kind)
        if found is None or shards(found):
            raise ValueError(f'strategy: {refusal(str(getattr(kind, "__name__", kind)))}')
    names = {'model_wrapper': 'model_wrapper_cfg', 'sync_bn': 'sync_bn'}
    given = {key: value for key, value in strategy.items() if key != 'type' and value is not None}
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(
            f'strategy.{unknown[0]}: mmsls takes {" and ".join(names)} of a {kind}; take it out, or set what Runner has'
        )
    return {names[key]: value for key, value in given.items()}
