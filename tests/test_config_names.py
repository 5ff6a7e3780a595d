"""MMEngine finds `mmsls::` configs, in processes that know nothing of mmsls too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

ROOT = Path(__file__).resolve().parents[1]
LEAVES = sorted(
    path.relative_to(ROOT / 'configs').as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)


@pytest.mark.parametrize('name', LEAVES)
def test_a_child_of_a_name_is_the_child_of_the_file(name, tmp_path):
    """Above all: nothing is to be built in the scope of mmsls, where no toolbox's classes are."""
    (tmp_path / 'named.py').write_text(f"_base_ = 'mmsls::{name}'\nrandomness = dict(seed=3)\n")
    (tmp_path / 'file.py').write_text(f"_base_ = '{ROOT}/configs/{name}'\nrandomness = dict(seed=3)\n")
    named, by_file = (Config.fromfile(tmp_path / file, import_custom_modules=False) for file in ('named.py', 'file.py'))
    assert named.to_dict() == by_file.to_dict()
    assert "'_scope_': 'mmsls'" not in str(named.to_dict())


def test_names_of_toolboxes_are_as_before(tmp_path):
    (tmp_path / 'child.py').write_text("_base_ = ['mmdet::_base_/default_runtime.py', 'mmsls::_base_/hooks/slim.py']\n")
    cfg = Config.fromfile(tmp_path / 'child.py')
    assert cfg.default_scope == 'mmdet'
    assert cfg.custom_hooks[0].type == 'mmsls.SlimCheckpointHook'


def test_a_name_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    (tmp_path / 'child.py').write_text("_base_ = 'mmsls::demo/tun.py'\n")
    with pytest.raises(FileNotFoundError, match=r"mmsls has no 'demo/tun\.py'; nearest: mmsls::demo/tune\.py"):
        Config.fromfile(tmp_path / 'child.py')


def test_the_hub_of_mmengine_knows_them():
    assert get_config('mmsls::demo/tune.py').work_dir == 'work_dirs/demo/tune'


@pytest.mark.parametrize('first', ['import mmsls', 'import mmengine.config'])
def test_the_order_of_imports_does_not_matter(first, tmp_path):
    (tmp_path / 'child.py').write_text("_base_ = 'mmsls::_base_/hooks/slim.py'\n")
    code = (
        f'{first}\nimport mmsls, sys\nfrom mmengine.config import Config\n'
        f"print(Config.fromfile('child.py').custom_hooks, [f for f in sys.meta_path if 'Teacher' in repr(f)])"
    )
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[{'type': 'mmsls.SlimCheckpointHook'}] []", done.stderr
