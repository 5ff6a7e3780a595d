"""`mmsls doctor` here, where the tested set is installed."""

from __future__ import annotations

import pytest

from mmsls.commands.doctor import main


def test_nothing_is_wrong_here(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == 'nothing is wrong'
    assert 'compiled; nms runs' in said
    assert '-mmdetection)' in said or '(mmdet)' in said


def test_a_cache_that_cannot_be_written_to_is_wrong(capsys, monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file'))
    assert main([]) == 1
    said = capsys.readouterr().out
    assert f'WRONG: nothing can be written to {tmp_path}/file/hub/checkpoints' in said
    assert said.splitlines()[-1] == '1 wrong'


def test_it_takes_no_arguments():
    with pytest.raises(SystemExit):
        main(['--fix'])
