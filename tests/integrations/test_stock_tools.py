"""A config with mmsls in it runs with the hosts' own unmodified train.py and test.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mmdet
import mmseg
import torch
from warm_process import run_script

from mmsls.pruning_index import PruningIndex

TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
MMSEG_TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'
HOOKS = [
    {'type': 'mmsls.SLSHook', 'max_samples': 100, 'n_jobs': 1},
    {'type': 'mmsls.SlimCheckpointHook'},
]


def run(*command: str) -> None:
    """Run a tool in a fresh interpreter, in which nothing of mmsls is imported but by the config."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def run_warm(*command: str) -> None:
    """Run a tool in a process that has imported the toolboxes."""
    done = run_script(*command)
    assert done.returncode == 0, done.stderr[-3000:]


def test_stock_train_and_test(tmp_path, detector_cfg):
    cfg = detector_cfg(tmp_path / 'run', hooks=HOOKS, epochs=1)
    config = str(tmp_path / 'config.py')
    cfg.dump(config)
    run(str(TOOLS / 'train.py'), config)
    index = PruningIndex.load(tmp_path / 'run' / 'pruning_index.json')
    assert index.provenance['sampler'] == 'InstanceSampler'
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    assert not any('qkv' in key for key in torch.load(checkpoint, weights_only=True)['state_dict'])
    run_warm(str(TOOLS / 'test.py'), config, str(checkpoint), '--work-dir', str(tmp_path / 'test'))
    assert PruningIndex.load(tmp_path / 'test' / 'pruning_index.json').provenance['split'] == 'test'


def test_stock_train_and_test_of_mmseg(tmp_path, segmentor_cfg):
    config = str(tmp_path / 'config.py')
    segmentor_cfg(tmp_path / 'run', hooks=HOOKS, iterations=2).dump(config)
    run(str(MMSEG_TOOLS / 'train.py'), config)
    assert PruningIndex.load(tmp_path / 'run' / 'pruning_index.json').provenance['sampler'] == 'RegionSampler'
    checkpoint = tmp_path / 'run' / 'iter_2.pth'
    assert not any('qkv' in key for key in torch.load(checkpoint, weights_only=True)['state_dict'])
    run_warm(str(MMSEG_TOOLS / 'test.py'), config, str(checkpoint), '--work-dir', str(tmp_path / 'test'))
    assert PruningIndex.load(tmp_path / 'test' / 'pruning_index.json').provenance['split'] == 'test'
