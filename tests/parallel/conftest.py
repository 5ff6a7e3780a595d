"""Real processes that exchange over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def told_by(tmp_path) -> Callable[[str, int], list[Any]]:
    """A function that runs a worker of this folder in several processes and returns what each of them stored."""

    def run(worker: str, world: int) -> list[Any]:
        script = Path(__file__).with_name(worker)
        processes = [
            subprocess.Popen(
                [sys.executable, str(script), str(tmp_path), str(rank), str(world)],
                env={**os.environ, 'GLOO_SOCKET_IFNAME': 'lo'},
            )
            for rank in range(world)
        ]
        assert [process.wait(timeout=120) for process in processes] == [0] * world
        return [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(world)]

    return run
