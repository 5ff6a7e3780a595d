"""With one toolbox alone, what belongs to it works, and the rest says in one line what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ('mmdet', 'mmseg', 'mmpretrain')
# Python finds none of these modules, as where they are not installed.
BLOCK = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {absent!r} else super().find_spec(name, path, target)
sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
BUILD = """
import torch
from mmengine.registry import init_default_scope
from mmsls import runs
cfg = runs.load_config({config!r})
cfg.model.backbone.base_checkpoint = cfg.model.backbone.adapter = None
model = runs.build_model(cfg)
print(type(model).__module__.partition('.')[0], type(model.backbone).__name__)
"""
OF_HOST = {
    'mmdet': 'mmsls::demo/tune.py',
    'mmseg': 'mmsls::demo_seg/tune.py',
    'mmpretrain': 'mmsls::cls/vtab/deit-tiny_convpass.py',
}
TITLES = {'mmdet': 'MMDetection', 'mmseg': 'MMSegmentation', 'mmpretrain': 'MMPretrain'}


def with_only(hosts: tuple[str, ...], code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    absent = set(HOSTS) - set(hosts)
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-c', BLOCK.format(absent=absent) + code]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, check=False)


@pytest.mark.parametrize('host', HOSTS)
def test_what_belongs_to_the_host_works_alone(host, tmp_path):
    done = with_only((host,), BUILD.format(config=OF_HOST[host]), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()[-1]
    assert said.startswith(f'{host} Pruned')


@pytest.mark.parametrize(
    ('hosts', 'arguments', 'missing'),
    [
        (('mmseg',), ['train', 'mmsls::demo/tune.py'], 'mmdet'),
        (('mmdet',), ['run', 'mmsls::bccd_deit/tune.py'], 'mmseg'),
        (('mmdet',), ['vtab', '--tasks', 'digits'], 'mmpretrain'),
        (('mmdet',), ['demo', '--seg'], 'mmseg'),
    ],
)
def test_the_rest_says_in_one_line_what_to_install(hosts, arguments, missing, tmp_path):
    done = with_only(hosts, f'from mmsls.commands import main\nmain({arguments!r})', tmp_path)
    assert done.returncode == 1, done.stderr[-3000:]
    assert 'Traceback' not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith('error: ')
    assert f': {TITLES[missing]} ({missing}) is not installed: pip install ' in line
    assert list(tmp_path.iterdir()) == []


def test_the_demo_by_pixel_needs_no_mmdet(tmp_path):
    code = (
        'from pathlib import Path\nfrom mmsls.demo.nano_swin import PretrainSettings, pretrain_nano_swin\n'
        "pretrain_nano_swin(Path('base.pth'), PretrainSettings(max_steps=1))"
    )
    done = with_only(('mmseg',), code, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'base.pth').exists()
