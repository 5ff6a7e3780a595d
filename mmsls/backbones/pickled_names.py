"""What a checkpoint names besides tensors and plain data, found without running it."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

# Pickles that Python 2 could read, which torch writes, call these modules by their old names.
RENAMED = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}


def unknown_names(path: str | Path) -> list[str]:
    """Return what a checkpoint names besides torch's own classes and functions.

    Under torch < 2.6, which does not tell its own from others', those are among them.

    There are none if the file has another form, which leaves the error to torch.
    """
    try:
        if hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        return sorted(set(named(Path(path))))
    except Exception:  # damaged, or not a zip archive: the caller has torch's own error to raise
        return []


def named(path: Path) -> Iterator[str]:
    """Yield every class and function that the pickle in a file of `torch.save` names, as `module.name`.

    Raises:
        Exception: If the file is no archive, or its pickle is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.rpartition('/')[2] == 'data.pkl']
        for pickled in pickles:
            for code, argument, _ in pickletools.genops(archive.read(pickled)):
                if code.name == 'GLOBAL':
                    module, _, name = str(argument).partition(' ')
                    yield f'{RENAMED.get(module, module)}.{name}'
