"""What is gathered of this environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmsls.environment.facts import Facts, cache_folders, failure, gather, write_into


@pytest.fixture(scope='module')
def facts() -> Facts:
    return gather('1.2.3')


def test_versions_are_those_that_are_installed(facts):
    torch, mmengine = (__import__(name) for name in ('torch', 'mmengine'))
    assert torch.__version__.startswith(facts.versions['torch'])
    assert facts.built_for == (torch.version.cuda or '')
    assert facts.version('mmengine') == mmengine.__version__
    assert facts.version('no_such_module') is None
    assert facts.mmsls.startswith('1.2.3 (')
    assert facts.python == '.'.join(map(str, sys.version_info[:3]))


def test_all_of_the_tested_set_can_be_imported_and_nms_runs(facts):
    assert (facts.failures, facts.ops) == ({}, '')


def test_a_failure_is_one_line():
    def broken() -> None:
        raise ImportError('libx.so: undefined symbol\nand more')

    assert failure(broken) == 'ImportError: libx.so: undefined symbol'
    assert failure(lambda: sys.intern('x')) == ''


def test_the_cache_is_where_torch_has_it(monkeypatch, tmp_path):
    import torch

    assert cache_folders()['TORCH_HOME'] == Path(torch.hub.get_dir()) / 'checkpoints'
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert cache_folders()['TORCH_HOME'] == Path(torch.hub.get_dir()) / 'checkpoints'


@pytest.mark.parametrize('named', [{}, {'HF_HOME': 'home'}, {'HF_HOME': 'home', 'HF_HUB_CACHE': 'cache'}])
def test_the_cache_is_where_the_hub_has_it(named, monkeypatch, tmp_path):
    for name in ('HF_HOME', 'HF_HUB_CACHE'):
        monkeypatch.delenv(name, raising=False)
    for name, folder in named.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    code = 'from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert str(cache_folders()['HF_HUB_CACHE']) == done.stdout.strip()


def test_a_folder_that_is_to_be_made_is_tried_where_it_would_be(tmp_path):
    write_into(tmp_path / 'a/b')
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'a').write_text('')
    assert failure(lambda: write_into(tmp_path / 'a/b')).startswith('NotADirectoryError')
