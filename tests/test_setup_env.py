"""requirements/setup_env.py: what a fresh machine may lack, and set-ups that were broken off. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
import sys
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
