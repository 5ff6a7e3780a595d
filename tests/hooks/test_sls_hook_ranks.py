"""SLSHook in several gloo processes: the same index, and an end in bounded time whatever happens in one of them."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

import pytest
from warm_process import Running

from mmsls.hooks import SLSHook  # noqa: F401 (registers it)

SLS = {'type': 'mmsls.SLSHook', 'max_samples': 2000, 'n_jobs': 1}
TESTS = Path(__file__).resolve().parents[1]
BOUND = 400
"""Seconds after which a run hangs; each of these takes about ten."""


def log_of(folder):
    return ''.join(path.read_text() for path in sorted(folder.glob('2*/*.log')))


@pytest.fixture
def written(detector_cfg):
    """A function that writes a config for a run under DDP."""

    def run(folder, sampler, **more):
        cfg = detector_cfg(folder, hooks=[{**SLS, 'sampler': sampler}], epochs=1, log_level='INFO', **more)
        cfg.launcher = 'pytorch'
        cfg.model_wrapper_cfg = {'type': 'MMDistributedDataParallel', 'device_ids': None}
        folder.mkdir()
        cfg.dump(folder / 'config.py')
        return folder

    return run


def start_alone(folder: Path, count: int) -> list[Running]:
    """Start the processes of a run without a launcher that would end them all when one dies."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    shared = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': str(count), 'GLOO_SOCKET_IFNAME': 'lo'}
    command = [str(TESTS / 'ddp_worker.py'), 'run', str(folder / 'config.py'), str(folder)]
    return [Running(command, {**shared, 'RANK': str(rank), 'LOCAL_RANK': str(rank)}) for rank in range(count)]


def ended(processes: list[Running]) -> list[int]:
    """Wait for the processes, and return how they ended."""
    deadline = time.monotonic() + BOUND
    try:
        return [process.end(timeout=max(1, deadline - time.monotonic())).returncode for process in processes]
    finally:
        for process in processes:
            process.signal(signal.SIGKILL)


def test_a_bug_in_one_process_costs_no_training(written, tmp_path):
    folder = written(tmp_path / 'run', 'rank_samplers.FailsOnRankOne')
    assert ended(start_alone(folder, 2)) == [0, 0]
    assert list(folder.glob('best_*.pth'))
    log = log_of(folder)
    assert log.index('Epoch(val) [1]') < log.index('no index is written: WordlessError: a bug in the second process')
    assert re.search(r'OtherProcess: process 1\n', log)
    assert 'rank_samplers.py' in log  # the other process's traceback


def test_a_process_that_dies_leaves_none_waiting(written, tmp_path):
    folder = written(tmp_path / 'run', 'rank_samplers.DiesOnRankOne')
    codes = ended(start_alone(folder, 2))
    assert codes[1] == 7
    assert not (folder / 'pruning_index.json').exists()


@pytest.mark.parametrize('count', [2, pytest.param(3, marks=pytest.mark.long)])
def test_any_number_of_processes_writes_the_same_file(detector_cfg, build_runner, written, tmp_path, count):
    """Seven images: the padded duplicates must not count, and every process embeds other blocks."""
    build_runner(detector_cfg(tmp_path / 'train', epochs=1)).train()
    trained = str(tmp_path / 'train/epoch_1.pth')
    build_runner(detector_cfg(tmp_path / 'one', hooks=[SLS], load_from=trained)).test()
    folder = written(tmp_path / 'many', 'InstanceSampler', load_from=trained)
    assert ended(start_alone(folder, count)) == [0] * count
    assert (folder / 'pruning_index.json').read_text() == (tmp_path / 'one/pruning_index.json').read_text()
