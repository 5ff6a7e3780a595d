"""requirements/setup_env.py: what a fresh machine may lack, and set-ups that were broken off. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def setup_env(request, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(request.config.rootpath / 'requirements')
    path = request.config.rootpath / 'requirements/setup_env.py'
    spec = importlib.util.spec_from_file_location('setup_env', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('version', [(3, 9), (3, 13), (2, 7)])
def test_another_python_is_one_clear_line(setup_env, monkeypatch, version):
    monkeypatch.setattr(sys, 'version_info', (*version, 0))
    with pytest.raises(SystemExit, match=rf'^setup: Python {version[0]}\.{version[1]} is not supported; .*3\.11'):
        setup_env.check_python()


def test_a_missing_compiler_is_one_clear_line_before_anything_is_fetched(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', str(tmp_path / 'venv')])
    with pytest.raises(SystemExit, match=r'^setup: no C\+\+ compiler found .*apt-get install g\+\+'):
        setup_env.main()
    assert not (tmp_path / 'venv').exists()


def test_a_full_disk_is_one_clear_line(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=2**30))
    with pytest.raises(SystemExit, match=r'^setup: 1\.0 GiB free in .*, 8 GiB needed'):
        setup_env.check_disk(tmp_path)


def test_an_environment_left_half_made_is_made_anew(setup_env, tmp_path):
    env = setup_env.Environment(tmp_path / 'venv')
    env.python.parent.mkdir(parents=True)
    env.python.write_text('#!/bin/sh\nexit 1\n')
    env.python.chmod(0o755)
    assert not env.has_pip()
    env.create()
    assert env.has_pip()


def test_a_failing_venv_is_one_clear_line(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env.sys, 'executable', '/bin/false')
    with pytest.raises(SystemExit, match='apt-get install python3-venv'):
        setup_env.Environment(tmp_path / 'venv').create()


def test_a_step_that_was_broken_off_runs_again_and_a_done_one_does_not(setup_env, tmp_path):
    env, seen = setup_env.Environment(tmp_path), []

    def broken() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        env.once('torch', 'a', 'installing', broken)
    for requirements in ('a', 'a', 'b'):
        env.once('torch', requirements, 'installing', lambda requirements=requirements: seen.append(requirements))
    assert seen == ['a', 'b']


@pytest.mark.parametrize(('stack', 'folder'), [(None, 'requirements'), ('openmmlab', 'requirements/openmmlab')])
def test_a_stack_is_installed_from_its_own_files_and_what_both_need(setup_env, monkeypatch, request, stack, folder):
    files, installed = request.config.rootpath / folder, {}
    env = {'is_done': lambda self, name: True, 'create': lambda self: None, 'say': lambda self, text: None}
    for name, method in env.items():
        monkeypatch.setattr(setup_env.Environment, name, method)
    monkeypatch.setattr(
        setup_env.Environment, 'pip', lambda self, *args: installed.setdefault(step[-1], []).extend(args)
    )
    monkeypatch.setattr(setup_env.build_mmcv, 'wheel_of', lambda python, requirement, say: Path(f'{requirement}.whl'))
    monkeypatch.setattr(setup_env.subprocess, 'run', lambda *args, **kwargs: SimpleNamespace(returncode=0))
    step: list[str] = []

    def once(self, name, fingerprint, text, action, checks=()):
        step.append(name)
        action()

    monkeypatch.setattr(setup_env.Environment, 'once', once)
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', 'venv', *(['--stack', stack] if stack else [])])
    setup_env.main()
    assert step == ['torch', 'mmcv', 'rest', 'mmsls']
    assert installed['torch'] == ['-r', str(files / 'torch.txt')]
    wheel = f'{setup_env.requirement_of(files / "mmcv.txt")}.whl'
    assert installed['mmcv'][-3:] == [wheel, '-c', str(files / 'tested.txt')]
    common = request.config.rootpath / 'requirements/common.txt'
    assert installed['rest'] == ['-r', str(files / 'tested.txt'), '-r', str(common)]


def test_the_two_stacks_share_no_distribution(request):
    folder = request.config.rootpath / 'requirements'
    onedl, official = (
        {re.split('[=<>]', line)[0] for name in ('mmcv.txt', 'tested.txt') for line in lines_of(place / name)}
        for place in (folder, folder / 'openmmlab')
    )
    assert all(name.startswith('onedl-') for name in onedl)
    assert official == {'mmcv', 'mmengine', 'mmdet', 'mmsegmentation', 'mmpretrain', 'numpy'}


def lines_of(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line and not line.startswith('#')]


def test_a_torch_file_that_is_not_there_is_one_clear_line(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', str(tmp_path / 'venv'), '--torch', 'no.txt'])
    with pytest.raises(SystemExit, match=r'^setup: --torch: no file no\.txt'):
        setup_env.main()
    assert not (tmp_path / 'venv').exists()
