"""Does a model need mmsls? It is built and loaded in a process that cannot import it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE = 600
"""Seconds that importing a toolbox and building a model may take."""
ALONE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mmsls':
            raise ImportError('mmsls is not there')

def say_the_cause(kind, error, trace):
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    print(f'{type(error).__name__}: {error}', file=sys.stderr)

sys.excepthook = say_the_cause
# What `mmsls.pth` has imported at the start of this Python is not there either.
for name in [name for name in sys.modules if name.split('.')[0] == 'mmsls']:
    del sys.modules[name]
sys.meta_path[:] = [Missing(), *(one for one in sys.meta_path if not type(one).__module__.startswith('mmsls'))]
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

cfg = Config.fromfile(sys.argv[1])
init_default_scope(cfg.get('default_scope', 'mmengine'))
model = MODELS.build(cfg.model)
model.load_state_dict(torch.load(sys.argv[2], map_location='cpu', weights_only=True)['state_dict'], strict=True)
assert 'mmsls' not in sys.modules
"""


def why_not_alone(config: Path, checkpoint: Path) -> str:
    """Build a config's model without mmsls, load a checkpoint strictly, and say why that fails ('' if it does not).

    Args:
        config: The written config.
        checkpoint: The full checkpoint.
    """
    # The toolboxes come from wherever this process has them.
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        done = subprocess.run(
            [sys.executable, '-c', ALONE, str(config.resolve()), str(checkpoint.resolve())],
            capture_output=True,
            text=True,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f'it could not be tried without mmsls ({str(error)[:200]})'
    if done.returncode == 0:
        return ''
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f'without mmsls it does not load ({" ".join(lines[-1:])[-300:] or f"exit status {done.returncode}"})'


def names_of_mmsls(value: Any, place: str = 'config') -> list[str]:
    """Return the places of a config that name mmsls: texts `mmsls.Name` or a path into it, and classes of it.

    Example:
        >>> names_of_mmsls({'a': [{'type': 'mmsls.X'}], 'b': 'mmsls_data/x', 'c': 'mmsls'})
        ['config.a[0].type', 'config.c']
    """
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in names_of_mmsls(item, f'{place}.{key}')]
    if isinstance(value, (list, tuple)):
        return [found for number, item in enumerate(value) for found in names_of_mmsls(item, f'{place}[{number}]')]
    module = getattr(value, '__module__', None) if isinstance(value, type) or callable(value) else value
    return [place] if isinstance(module, str) and module.split('.')[0] == 'mmsls' else []
