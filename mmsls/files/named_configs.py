"""Configs that come with a package, by name: `mmsls::demo/tune.py`, and those of the toolboxes, `mmdet::...`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

MARK = '::'
OURS = f'mmsls{MARK}'
FOLDER = Path('.mim/configs')
"""Where MMEngine and MIM look in every package of OpenMMLab's."""


def is_name(config: str) -> bool:
    """Whether a config is given by name, not by file.

    Example:
        >>> is_name('mmsls::demo/tune.py'), is_name('configs/demo/tune.py')
        (True, False)
    """
    return MARK in config


def named_config(name: str) -> Path:
    """Return the file of a config that a package holds.

    Args:
        name: The package, two colons, the path in its folder of configs, with or without `.py`.

    Raises:
        FileNotFoundError: If there is none, naming those whose names are nearest.

    Example:
        >>> named_config('mmsls::demo/tune.py').name, named_config('mmsls::demo/tune').name
        ('tune.py', 'tune.py')
    """
    package, _, inner = name.partition(MARK)
    folder = configs_of(package)
    for path in (folder / inner, folder / f'{inner}.py'):
        if path.is_file():
            return path
    known = [path.relative_to(folder).as_posix() for path in folder.rglob('*.py')]
    known.sort(key=lambda path: (path.startswith('_base_'), path))  # what runs by itself first
    near = [f'{package}{MARK}{path}' for path in nearest(inner, known)]
    raise FileNotFoundError(f'config: {package} has no {inner!r}; {"nearest: " + ", ".join(near) if near else folder}')


def nearest(name: str, known: list[str]) -> list[str]:
    """Return up to three of the known names, the nearest first: as written, else by their folders alone.

    Example:
        >>> nearest('camvid/tun.py', ['camvid/tune.py', 'bccd/tune.py', 'det/x.py'])
        ['camvid/tune.py', 'bccd/tune.py']
    """
    return get_close_matches(name, known, n=3, cutoff=0.6) or [path for path in known if name and name in path][:3]


def configs_of(package: str) -> Path:
    """Return the folder of configs in an installed package, which is not imported.

    Raises:
        FileNotFoundError: If the package is not installed, or holds none.
    """
    spec = find_spec(package) if package.isidentifier() else None
    folder = Path(spec.origin).parent / FOLDER if spec is not None and spec.origin else None
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(f'config: no package {package!r} with configs ({FOLDER}) is installed')
    return folder.resolve()
