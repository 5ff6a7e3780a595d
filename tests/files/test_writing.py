"""Files come about whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from mmsls.files import writing
from mmsls.files.writing import whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def break_off(path: Path) -> None:
    with whole_file(path) as partial:
        partial.write_text('half of')
        raise RuntimeError('broken off')


def break_off_folder(folder: Path) -> None:
    with whole_folder(folder) as partial:
        (partial / 'weights').touch()
        raise RuntimeError('broken off')


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    write_json({'old': 1}, path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match='broken off'):
        break_off(path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ['a.json']


@pytest.mark.skipif(os.geteuid() != 0, reason='takes another user to be locked out')
def test_an_error_names_the_file_and_not_the_partial_one() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        try:
            os.seteuid(65534)
            with pytest.raises(PermissionError) as error:
                write_json(1, f'{folder}/a.json')
        finally:
            os.seteuid(0)
        assert error.value.filename == f'{folder}/a.json'
        assert os.listdir(folder) == []


def test_the_partial_file_keeps_the_suffix(tmp_path: Path) -> None:
    with whole_file(tmp_path / 'curve.png') as partial:
        assert partial.suffix == '.png'
        assert partial.parent == tmp_path
        partial.touch()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'a.json'
    write_json(1, path)

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, 'sync', full)
    with pytest.raises(OSError, match='No space left'):
        write_json(2, path)
    assert path.read_text() == '1\n'
    assert names(tmp_path) == ['a.json']


def test_data_and_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(writing, 'sync', lambda path: synced.append('file' if path.is_file() else 'folder'))
    write_json(1, tmp_path / 'a.json')
    assert synced == ['file', 'folder']


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='broken off'):
        break_off_folder(tmp_path / 'task')
    assert names(tmp_path) == []
    with whole_folder(tmp_path / 'task') as partial:
        (partial / 'weights').touch()
    assert names(tmp_path / 'task') == ['weights']
    with pytest.raises(FileExistsError, match='name a new folder'), whole_folder(tmp_path / 'task'):
        pass
    assert names(tmp_path) == ['task']
