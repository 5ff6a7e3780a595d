from __future__ import annotations

import socket

import pytest
import torch
from warm_process import run_scripts

from mmsls.runs.launching import first_machine, for_runner, start_processes

SLIM = {'type': 'mmsls.SlimCheckpointHook'}


def environments(launcher, port):
    """What torchrun and srun tell two processes on this machine."""
    where = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'GLOO_SOCKET_IFNAME': 'lo'}
    if launcher == 'pytorch':
        return [{**where, 'WORLD_SIZE': '2', 'RANK': rank, 'LOCAL_RANK': rank} for rank in '01']
    return [{**where, 'SLURM_NTASKS': '2', 'SLURM_PROCID': rank, 'SLURM_LOCALID': rank} for rank in '01']


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_the_same_config_trains_in_two_processes_without_a_gpu(detector_cfg, request, tmp_path, launcher):
    strategy = {'runner_type': 'FlexibleRunner', 'strategy': {'type': 'DDPStrategy'}}
    cfg = detector_cfg(tmp_path, hooks=[SLIM], epochs=1, **(strategy if launcher == 'pytorch' else {}))
    cfg.env_cfg = {'dist_cfg': {'backend': 'gloo'}}
    cfg.dump(tmp_path / 'config.py')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    tool = [str(request.config.rootpath / 'tools/train.py'), str(tmp_path / 'config.py'), '--launcher', launcher]
    done = run_scripts([tool] * 2, environments(launcher, port))
    assert done.returncode == 0, done.stderr[-3000:]
    # Each process had half of the four images, in batches of two: one step.
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['meta']['iter'] == 1


@pytest.mark.parametrize('kind', ['FSDPStrategy', 'ColossalAIStrategy', 'DeepSpeedStrategy'])
def test_what_shards_is_refused(detector_cfg, tmp_path, kind):
    cfg = detector_cfg(tmp_path, runner_type='FlexibleRunner', strategy={'type': kind})
    with pytest.raises(ValueError, match=f"{kind} spreads a model .* take strategy=dict\\(type='DDPStrategy'\\)"):
        for_runner(cfg)


def test_what_ddp_strategy_says_is_taken_over(detector_cfg, tmp_path):
    wrapper = {'type': 'MMDistributedDataParallel', 'find_unused_parameters': True}
    strategy = {'type': 'DDPStrategy', 'model_wrapper': wrapper, 'sync_bn': 'torch'}
    cfg = for_runner(detector_cfg(tmp_path, runner_type='FlexibleRunner', strategy=strategy))
    assert (cfg.model_wrapper_cfg, cfg.sync_bn) == (wrapper, 'torch')
    assert cfg.get('runner_type') is cfg.get('strategy') is None


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'runner_type': 'TeacherRunner'}, "runner_type 'TeacherRunner'.*train.py"),
        ({'strategy': {'type': 'DDPStrategy', 'work_dir': 'x'}}, 'strategy.work_dir'),
    ],
)
def test_what_runner_cannot_do_is_refused(detector_cfg, tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        for_runner(detector_cfg(tmp_path, **given))


def test_a_launcher_that_was_not_used_is_named(detector_cfg, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ValueError, match="launcher 'pytorch': RANK is not set; start the command by torchrun"):
        start_processes(detector_cfg(tmp_path, launcher='pytorch'))


@pytest.mark.skipif(torch.cuda.is_available(), reason='of machines without a GPU')
def test_nccl_without_a_gpu_names_gloo(detector_cfg, tmp_path, monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
        monkeypatch.setenv(name, '0')
    with pytest.raises(ValueError, match=r'nccl.*env_cfg.dist_cfg.backend=gloo'):
        start_processes(detector_cfg(tmp_path, launcher='pytorch'))


def test_a_job_whose_machines_are_unknown_names_master_addr():
    with pytest.raises(ValueError, match='set MASTER_ADDR'):
        first_machine('no[1-2]where')
