from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config


@pytest.fixture
def two_processes() -> Callable[[Config], None]:
    """A function that runs a config under DDP in two gloo processes; each leaves `rank{i}.pth` in the work directory."""

    def run(cfg: Config) -> None:
        # On the CPU DDP wants no device, and mmengine names one by default.
        wrapper = {'type': 'MMDistributedDataParallel', 'device_ids': None}
        cfg.merge_from_dict({'launcher': 'pytorch', 'model_wrapper_cfg': wrapper})
        folder = Path(cfg.work_dir)
        folder.mkdir(exist_ok=True)
        cfg.dump(folder / 'config.py')
        worker = str(Path(__file__).with_name('ddp_worker.py'))
        # All addresses are of this machine itself, whose name need not resolve.
        launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--local-addr=127.0.0.1']
        command = [*launch, '--nproc_per_node=2', worker]
        done = subprocess.run(
            [*command, str(folder / 'config.py'), str(folder)],
            capture_output=True,
            text=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'GLOO_SOCKET_IFNAME': 'lo'},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run
