"""Reading a base checkpoint: which file, which container, and nothing in it that could run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor

StateDict = dict[str, Tensor]


def local_path(location: str) -> Path:
    """Return the file of a base checkpoint, downloading a URL to torch's hub cache first.

    Raises:
        FileNotFoundError: If a local file does not exist, or a URL cannot be fetched.
    """
    if urlparse(location).scheme in ('http', 'https'):
        # Many hosts call every file `pytorch_model.bin`: two URLs must never be one file.
        name = f'{hashlib.sha256(location.encode()).hexdigest()[:12]}_{Path(urlparse(location).path).name}'
        path = Path(torch.hub.get_dir()) / 'checkpoints' / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(location, str(path))
            except OSError as error:  # urllib's errors are OSErrors
                raise FileNotFoundError(
                    f'base_checkpoint: {location!r} cannot be fetched ({error}); check the URL and the network, or fetch it by other means and '
                    'give its path'
                ) from error
        return path
    path = Path(location).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'base_checkpoint: no file at {location!r}; give the path or URL of the pre-trained backbone'
        )
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_base(location: str) -> tuple[StateDict, str]:
    """Read the tensors of a base checkpoint without running any code that it may carry.

    Args:
        location: Path or URL.

    Returns:
        The backbone's tensors under their own keys (wrappers and prefixes removed), and the file's SHA-256.

    Raises:
        FileNotFoundError: If a local file does not exist.
        ValueError: If the file is no PyTorch checkpoint and no `.npz`, holds more than tensors, or no tensors at all.
    """
    path = local_path(location)
    google = path.suffix == '.npz'
    try:
        content = read_npz(path) if google else torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # any bytes may stand in the file, and the unpickler fails on them in as many ways
        means = 'allow_pickle=False' if google else 'weights_only=True'
        mend = 'Get the file again' if google else 'Save its state_dict alone with torch.save'
        raise ValueError(
            f'base_checkpoint: {location!r} does not load with {means} ({reason_of(error)}); it is damaged or holds more than tensors. {mend}'
        ) from error
    return unwrap(content, location), sha256_of(path)


def read_npz(path: Path) -> StateDict:
    """Read the arrays of a `.npz`, the container of Google's own ViT weights.

    Raises:
        ValueError: If it is another kind of file or holds pickled objects.
        TypeError: If torch has no counterpart of an array's dtype.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError('it is one array and no archive of arrays')
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def reason_of(error: Exception) -> str:
    """Return the line of torch's long message that says what is wrong with a file."""
    text = str(error).strip() or type(error).__name__
    found = re.search(r'WeightsUnpickler error: .*|.*\bGLOBAL\b.*', text)
    return (found[0] if found else text.splitlines()[0]).strip()[:200]


def unwrap(content: object, location: str) -> StateDict:
    """Find the backbone's tensors in a loaded checkpoint: inside `state_dict` or `model`, after `module.` and `backbone.`."""
    for key in ('state_dict', 'model'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    for prefix in ('module.', 'backbone.'):
        if any(key.startswith(prefix) for key in tensors):
            tensors = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    if not tensors:
        raise ValueError(
            f'base_checkpoint: {location!r} holds no tensors of a model (looked for `state_dict`, `model`, or tensors)'
        )
    return tensors
