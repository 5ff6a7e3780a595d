"""Real processes that exchange over gloo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm_process import run_scripts


@pytest.fixture
def told_by(tmp_path) -> Callable[[str, int], list[Any]]:
    """A function that runs a worker of this folder in several processes and returns what each of them stored."""

    def run(worker: str, world: int) -> list[Any]:
        script = str(Path(__file__).with_name(worker))
        commands = [[script, str(tmp_path), str(rank), str(world)] for rank in range(world)]
        done = run_scripts(commands, [{'GLOO_SOCKET_IFNAME': 'lo'}] * world)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(world)]

    return run
