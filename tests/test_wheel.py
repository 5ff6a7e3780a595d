"""The wheel, installed outside of the checkout: command, configs, and the toolboxes' own tools on our configs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns('.git', '.venv*', 'work_dirs', 'build', 'dist', '*.egg-info', '__pycache__')
CHILD = """_base_ = 'mmsls::demo/tune.py'
train_cfg = dict(max_epochs=1, val_interval=1)
custom_hooks = [dict(type='mmsls.SlimCheckpointHook')]
work_dir = 'work_dirs/mine'
"""


def run(*command: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program that must not find the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env={**kept, **env}, check=False
    )


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: building leaves files in the tree."""
    folder = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, folder / 'source', symlinks=True, ignore=LEFT_OUT)
    arguments = ('--no-deps', '--no-build-isolation', '--quiet', '-w', folder, folder / 'source')
    done = run(sys.executable, '-m', 'pip', 'wheel', *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """The commands of an environment that has the wheel, and all else from this one."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=False)
    python = folder / 'bin/python'
    packages = Path(run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=folder).stdout[:-1])
    (packages / 'all_else.pth').write_text(sysconfig.get_path('purelib'))
    pip = (sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', '--quiet', wheel)
    done = run(*pip, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / 'bin'


def test_what_is_in_the_wheel(wheel):
    names = set(ZipFile(wheel).namelist())
    held = ('configs/**/*.py', 'configs/**/metafile.yml', 'tools/*.py')
    for path in (path for pattern in held for path in ROOT.glob(pattern)):
        assert f'mmsls/.mim/{path.relative_to(ROOT).as_posix()}' in names
    assert {'mmsls.pth', 'mmsls/py.typed', 'mmsls/.mim/model-index.yml', 'mmsls/report/template.html'} <= names
    assert not [name for name in names if name.startswith(('tests', 'benchmarks', 'configs', 'tools'))]


def test_the_command_answers(installed, tmp_path):
    done = run(installed / 'mmsls', '--help', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'doctor' in done.stdout


def test_the_doctor_finds_nothing_wrong(installed, tmp_path):
    done = run(installed / 'mmsls', 'doctor', cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(installed.parent.resolve()) in done.stdout.splitlines()[0]


def test_mmengine_reads_a_config_by_name_and_mmsls_is_not_imported_by_hand(installed, tmp_path):
    (tmp_path / 'mine.py').write_text(CHILD)
    code = "from mmengine.config import Config; cfg = Config.fromfile('mine.py'); print(cfg.model.type, cfg.work_dir)"
    done = run(installed / 'python', '-c', code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == 'RetinaNet work_dirs/mine', done.stderr[-3000:]


def test_data_that_is_not_there_is_told_in_one_line(installed, tmp_path):
    done = run(installed / 'mmsls', 'train', 'mmsls::camvid/tune.py', cwd=tmp_path)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: data_root: no folder at '../shared/data/camvid/'; set MMSLS_CAMVID to")


@pytest.mark.long
def test_the_demo_and_a_toolboxs_own_script_on_a_config_by_name(installed, tmp_path):
    demo = run(installed / 'mmsls', 'demo', cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr[-3000:]
    for name in ('results.md', 'report.html', 'pruning_index.json', 'task/mmsls.json'):
        assert (tmp_path / 'work_dirs/demo' / name).stat().st_size > 0
    (tmp_path / 'mine.py').write_text(CHILD)
    where = run(installed / 'python', '-c', 'import mmdet; print(mmdet.__path__[0])', cwd=tmp_path)
    script = Path(where.stdout.splitlines()[-1]) / '.mim/tools/train.py'
    trained = run(installed / 'python', script, 'mine.py', cwd=tmp_path, OMP_NUM_THREADS='1')
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert 'coco/bbox_mAP: ' in trained.stdout + trained.stderr
    assert (tmp_path / 'work_dirs/mine/epoch_1.pth').exists()
