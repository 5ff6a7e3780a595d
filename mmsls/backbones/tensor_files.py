"""Reading files of tensors from anyone: nothing in them runs, and none takes more memory than it has bytes for."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from mmsls.backbones.pickled_names import unknown_names

SLACK = 64 << 20
"""Bytes by which a compressed archive may always unpack larger than ten times its own size."""
BLOCKED = (
    'os',
    'posix',
    'nt',
    'sys',
    'subprocess',
    'importlib',
    'runpy',
    'pickle',
    'ctypes',
    'shutil',
    'socket',
    'code',
    'pty',
    'commands',
)
BLOCKED_BUILTINS = (
    'eval',
    'exec',
    'execfile',
    'compile',
    'open',
    '__import__',
    'input',
    'breakpoint',
    'globals',
    'setattr',
    'delattr',
)
"""What no honest checkpoint names: such a file is refused as a whole, though a stand-in would do no harm."""
_STAND_INS = Lock()


class StandIn:
    """Takes the place of an object that was pickled with the tensors; takes whatever it is given, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> StandIn:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...


def read_torch(path: str | Path, stand_ins: bool = False) -> Any:
    """Read what `torch.save` wrote, with `weights_only=True`.

    Args:
        path: The file.
        stand_ins: Whether objects besides tensors and plain data become `StandIn`s, as in every checkpoint of MMEngine
            (its log history and numpy's numbers). They are never built, nor their code looked for.

    Raises:
        Exception: Of many kinds, as torch's unpickler fails in as many ways; `reason_of` gives the line that says why.
    """
    check_archive(Path(path), factor=1)
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception:
        if not stand_ins or not hasattr(torch.serialization, 'safe_globals'):  # torch < 2.5
            raise
        names = unknown_names(path)
        if not names or not all(map(is_harmless, names)):
            raise
    # The list is one for the process. Other readers would get stand-ins too meanwhile, which are harmless.
    with _STAND_INS, torch.serialization.safe_globals([stand_in(name) for name in names]):
        return torch.load(path, map_location='cpu', weights_only=True)


def is_harmless(name: str) -> bool:
    """Whether a file may name this and be read all the same.

    What starts processes or finds code is no part of any checkpoint.

    Example:
        >>> is_harmless('mmengine.logging.history_buffer.HistoryBuffer')
        True
        >>> is_harmless('posix.system'), is_harmless('builtins.eval')
        (False, False)
    """
    module, _, last = name.partition('.')
    return last not in BLOCKED_BUILTINS if module in ('builtins', '__builtin__') else module not in BLOCKED


def stand_in(name: str) -> type[StandIn]:
    """Return a class of its own that passes for `module.name`: torch looks its list up by both."""
    module, _, last = name.rpartition('.')
    return type(last, (StandIn,), {'__module__': module})


def read_npz(path: Path) -> dict[str, Tensor]:
    """Read the arrays of a `.npz`, the container of Google's own ViT weights.

    Raises:
        ValueError: If it is another kind of file, holds pickled objects, or an array claims more than is there.
        TypeError: If torch has no counterpart of an array's dtype.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError('it is no archive of arrays')
    check_archive(path, factor=10, slack=SLACK)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            check_member(archive, member)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a `.safetensors` file; its reader refuses headers that claim more than the file has.

    Raises:
        Exception: Of several kinds, where it is damaged or holds types that torch lacks.
    """
    return load_file(path)


def check_archive(path: Path, factor: int, slack: int = 0) -> None:
    """Refuse a zip archive whose members unpack to far more than the file has bytes.

    Raises:
        ValueError: With both sizes.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
    size = path.stat().st_size
    if claimed > factor * size + slack:
        raise ValueError(f'its parts claim {claimed} bytes, the file has {size}')


def check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array whose header claims another size than the archive has of it: numpy would allocate it first.

    Raises:
        ValueError: That names the array and both sizes.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        wanted = file.tell() + dtype.itemsize * int(np.prod([int(side) for side in shape], dtype=object))
    if wanted != member.file_size or min(shape, default=0) < 0:
        raise ValueError(f'{member.filename} claims {wanted} bytes, the archive has {member.file_size}')


def check_tensors(tensors: Mapping[str, Any]) -> None:
    """Refuse tensors that are larger than their bytes (by strides of zero), or of a kind that no weights are.

    Raises:
        ValueError: That names the first one.
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, StandIn):
            raise ValueError(f'{name} is no tensor but an object that only its own code could build')
        if not isinstance(tensor, Tensor):
            continue
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
            raise ValueError(f'{name} is no ordinary tensor')
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f'{name} claims {tuple(tensor.shape)}, more than the file has bytes for')


def reason_of(error: Exception) -> str:
    """Return the line of torch's long message that says what is wrong with a file."""
    text = str(error).strip() or type(error).__name__
    found = re.search(r'WeightsUnpickler error: .*|.*\bGLOBAL\b.*', text)
    return (found[0] if found else text.splitlines()[0]).strip()[:200]
