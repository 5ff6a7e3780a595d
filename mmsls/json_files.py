"""Small files of a run, written at once or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_json(value: Any, path: Path) -> None:
    """Write plain data as JSON; whoever reads meanwhile, or after a crash, finds the old file or the new one."""
    partial = path.with_name(f'{path.name}.partial')
    partial.write_text(json.dumps(value, indent=1) + '\n')
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read a file of `write_json`.

    Raises:
        ValueError: If it is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'{str(path)!r} is damaged ({error}); remove it, and its stage runs again') from error
