"""With one toolbox alone, what belongs to it works, and the rest says in one line what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ('mmdet', 'mmseg', 'mmpretrain')
# Python finds none of the others, as where they are not installed.
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
from mmsls import runs
from mmsls.commands import main
cfg = runs.load_config({config!r})
cfg.model.backbone.base_checkpoint = cfg.model.backbone.adapter = None
model = runs.build_model(cfg)
print(type(model).__module__.partition('.')[0], type(model.backbone).__name__)
for arguments in {refused!r}:
    try:
        main(arguments)
    except SystemExit as end:
        print(end.code)
"""
PRETRAIN = """
from pathlib import Path
from mmsls.demo.nano_swin import PretrainSettings, pretrain_nano_swin
pretrain_nano_swin(Path('base.pth'), PretrainSettings(max_steps=1))
"""
CASES = {
    'mmdet': (
        'mmsls::demo/tune.py',
        [
            (['run', 'mmsls::bccd_deit/tune.py'], 'MMSegmentation (mmseg)'),
            (['vtab', '--tasks', 'digits'], 'MMPretrain (mmpretrain)'),
            (['demo', '--seg'], 'MMSegmentation (mmseg)'),
        ],
    ),
    'mmseg': (
        'mmsls::demo_seg/tune.py',
        [(['train', 'mmsls::demo/tune.py'], 'MMDetection (mmdet)'), (['demo'], 'MMDetection (mmdet)')],
    ),
    'mmpretrain': (
        'mmsls::cls/vtab/deit-tiny_convpass.py',
        [(['score', 'mmsls::camvid/tune.py'], 'MMSegmentation (mmseg)')],
    ),
}


@pytest.mark.parametrize('host', HOSTS)
def test_one_toolbox_is_enough_for_what_belongs_to_it(host, tmp_path):
    config, refused = CASES[host]
    code = BLOCK.format(absent=set(HOSTS) - {host}) + BUILD.format(config=config, refused=[row[0] for row in refused])
    # The nano Swin of both demos is made by whichever toolbox is there.
    code += PRETRAIN if host == 'mmseg' else ''
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    built, *ends = [line for line in done.stdout.splitlines() if line.startswith(('error: ', f'{host} '))]
    assert built.startswith(f'{host} Pruned')
    assert len(ends) == len(refused)
    for end, (_, missing) in zip(ends, refused, strict=True):
        assert f': {missing} is not installed: pip install ' in end
    assert [path.name for path in tmp_path.iterdir()] == (['base.pth'] if host == 'mmseg' else [])
