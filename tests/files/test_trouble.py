from __future__ import annotations

import errno
import os

import pytest

from mmsls.files.paths import expand_homes
from mmsls.files.trouble import explain, naming


def test_an_error_of_the_disk_names_its_folder(tmp_path):
    with pytest.raises(OSError, match='No space left') as caught, naming(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert explain(caught.value) == f"'{tmp_path}': No space left on device; make room"


def test_an_error_that_names_its_file_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path):
        (tmp_path / 'gone').read_text()
    assert caught.value.filename == str(tmp_path / 'gone') or str(caught.value.filename) == str(tmp_path / 'gone')


def test_torchs_writer_says_what_the_system_said(tmp_path):
    with pytest.raises(OSError, match='Input/output error') as caught, naming(tmp_path):
        raise RuntimeError('[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0')
    assert str(tmp_path) in explain(caught.value)


@pytest.mark.parametrize('error', [RuntimeError('a bug'), OSError('odd'), ValueError('x')])
def test_bugs_are_left_alone(tmp_path, error):
    with pytest.raises(type(error)) as caught, naming(tmp_path):
        raise error
    assert caught.value is error


def test_homes_are_expanded_wherever_they_stand(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    cfg = {
        'work_dir': '~/a',
        'x': [{'load_from': '~/b'}, ('~', 1)],
        'text': 'about ~/c',
        'odd': '~nobody-at-all/x',
        'n': 1,
    }
    assert expand_homes(cfg) == {
        'work_dir': '/home/me/a',
        'x': [{'load_from': '/home/me/b'}, ('/home/me', 1)],
        'text': 'about ~/c',
        'odd': '~nobody-at-all/x',
        'n': 1,
    }
