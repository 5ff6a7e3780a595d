"""Whether a config's data and base are where it says, before a model is built.

Paths in configs are relative to the folder that a command runs in; configs that come with mmsls are run anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsls.files.paths import expand_home

DEMO = 'work_dirs/demo'
VARIABLE = re.compile(r'\{\{\s*\$(\w+):(\S*?)\s*\}\}')


def check_presence(cfg: Config, *splits: str) -> None:
    """Refuse a config whose data folders, or whose base where an environment variable names it, are not there.

    Args:
        cfg: The config.
        splits: Of `'train'`, `'val'` and `'test'`, those that will be read.

    Raises:
        FileNotFoundError: Naming the folder, and how to name another one.
    """
    named = variables(cfg)
    for split in splits:
        for root in dict.fromkeys(data_roots(cfg.get(f'{split}_dataloader'))):
            if not Path(root).exists():
                setting = f'--cfg-options {split}_dataloader.dataset.data_root=FOLDER'
                raise FileNotFoundError(f'data_root: no folder at {root!r}; {mend(root, named, setting)}')
    base = cfg.get('model', {}).get('backbone', {}).get('base_checkpoint')
    if isinstance(base, str) and variable_of(base, named) and not Path(base).exists():
        raise FileNotFoundError(f'base_checkpoint: no file at {base!r}; {mend(base, named, "")}')


def data_roots(part: Any) -> Iterator[str]:
    """Return the local data folders of a dataloader, those of data sets inside of others too.

    Args:
        part: The dataloader's config, or any part of it.
    """
    if isinstance(part, list | tuple):
        for item in part:
            yield from data_roots(item)
    if not isinstance(part, Mapping):
        return
    root = part.get('data_root')
    if isinstance(root, str) and root and ':' not in root and part.get('backend_args') is None and reads(part):
        yield expand_home(root)
    for name in ('dataset', 'datasets'):
        yield from data_roots(part.get(name))


def reads(part: Mapping[str, Any]) -> bool:
    """Whether a data set looks for anything in its folder: not where all that it names is an absolute path.

    Example:
        >>> reads({'ann_file': '/data/x.json', 'data_prefix': {'img': '/data/x/'}}), reads({'ann_file': 'x.json'})
        (False, True)
    """
    prefix = part.get('data_prefix')
    named = [part.get('ann_file'), *(prefix.values() if isinstance(prefix, Mapping) else [prefix])]
    paths = [path for path in named if isinstance(path, str) and path]
    return not paths or not all(Path(expand_home(path)).is_absolute() for path in paths)


def mend(path: str, named: Mapping[str, str], setting: str) -> str:
    """Return what to do about a path that is not there."""
    variable = variable_of(path, named)
    if variable:
        return f'set {variable} to where it is (docs/data.md says what it is and where it comes from)'
    return '`python -m mmsls.demo` makes it' if path.startswith(DEMO) else f'put the data there, or name it: {setting}'


def variables(cfg: Config) -> dict[str, str]:
    """Return the environment variables that a config's text asks for, with their values or the defaults there.

    `Config.env_variables` (MMEngine 0.10) has only those that are set.
    """
    return {name: os.environ.get(name, default) for name, default in VARIABLE.findall(cfg.text)}


def variable_of(path: str, named: Mapping[str, str]) -> str | None:
    """Return the environment variable that a path of the config begins with, None where it is written out.

    Example:
        >>> variable_of('../data/camvid/', {'MMSLS_CAMVID': '../data/camvid'})
        'MMSLS_CAMVID'
    """
    return next((name for name, value in named.items() if value and path.startswith(value)), None)
