"""Text files of strangers: bounded, and refused with one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsls.files.reading import parse_json, read_json, read_text


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        (b'{"a": 1', 'cut short or not JSON'),
        (b'[' * 100_000, 'nested too deep'),
        (b'{"a":' * 100_000, 'nested too deep'),
        (b'[NaN]', 'holds NaN'),
        (b'\xff\xfe{}', 'not text'),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / 'state.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=why) as refused:
        read_json(path, 'remove it')
    assert str(path) in str(refused.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / 'huge.json'
    with path.open('wb') as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(ValueError, match='bytes'):
        read_text(path)


def test_a_folder_or_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='is no file'):
        read_text(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / 'absent')


def test_plain_data_come_back() -> None:
    assert parse_json('{"a": [1, 2.5, null, "x"]}') == {'a': [1, 2.5, None, 'x']}
