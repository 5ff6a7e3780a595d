"""The committed pictures are those that the script draws."""

from __future__ import annotations

import re
from pathlib import Path

from warm_process import run_script

ROOT = Path(__file__).resolve().parents[2]


def words(path: Path) -> list[str]:
    """Return the texts of a picture; where exactly they stand may differ by version of matplotlib."""
    return re.findall(r'<text[^>]*>([^<]+)</text>', path.read_text())


def test_pictures_are_up_to_date(tmp_path):
    done = run_script(ROOT / 'docs/pictures.py', '--out', tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    committed = sorted((ROOT / 'docs/images').glob('*.svg'))
    assert [path.name for path in committed] == sorted(path.name for path in tmp_path.iterdir())
    for path in committed:
        assert words(path) == words(tmp_path / path.name)
        assert len(words(path)) > 5
