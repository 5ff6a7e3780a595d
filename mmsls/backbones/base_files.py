"""Reading a base checkpoint: which file, which container, and nothing in it that could run."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub
import timm
import torch
from torch import Tensor

from mmsls.backbones.tensor_files import StandIn, check_tensors, read_npz, read_safetensors, read_torch, reason_of

StateDict = dict[str, Tensor]
HOW = {
    '.npz': ('with allow_pickle=False', 'Get the file again'),
    '.safetensors': ('as safetensors', 'Get the file again'),
}
TIMM, HF_HUB = 'timm:', 'hf-hub:'
HUB_FILES = ('model.safetensors', 'pytorch_model.bin')
"""What weights are called on the hub, the safe form first."""
HOW_TORCH = ('with weights_only=True', 'Save its state_dict alone with torch.save')
"""How a container is read, and what to do where that fails."""


def local_path(location: str) -> Path:
    """Return the file of a base checkpoint; a URL or a hub's name is fetched to its cache first.

    Raises:
        FileNotFoundError: If a local file does not exist, or another cannot be fetched.
        ValueError: If timm has no weights of that name.
    """
    if location.startswith((TIMM, HF_HUB)):
        return hub_file(location)
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
                    f'base_checkpoint: {location!r} cannot be fetched ({error}); check the URL and the network, or '
                    'fetch it by other means and give its path'
                ) from error
        return path
    path = Path(location).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'base_checkpoint: no file at {location!r}; give the path or URL of the pre-trained backbone'
        )
    return path


def hub_file(location: str) -> Path:
    """Return the file of weights that the Hugging Face hub has, from its cache where it is there already.

    Args:
        location: `'timm:NAME.TAG'`, as `timm.list_pretrained()` names them, or `'hf-hub:OWNER/NAME'`.

    Raises:
        FileNotFoundError: If it cannot be fetched.
        ValueError: If timm has no weights of that name.
    """
    failure: Exception | None = None
    if location.startswith(TIMM):
        name = location.removeprefix(TIMM)
        cfg = timm.get_pretrained_cfg(name) if timm.is_model_pretrained(name) else None
        if cfg is None or not cfg.hf_hub_id:
            near = difflib.get_close_matches(name, timm.list_pretrained(), n=3)
            raise ValueError(
                f'base_checkpoint: timm {timm.__version__} has no weights {location!r}'
                + (f'; near it are {", ".join(near)}' if near else '; timm.list_pretrained() names them')
            )
        repository, known = cfg.hf_hub_id, cfg.hf_hub_filename
    else:
        repository, known = location.removeprefix(HF_HUB), None
    for file in (known,) if known else HUB_FILES:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, file))
        except (OSError, ValueError) as error:  # the hub's errors are one or the other
            failure = error
    raise FileNotFoundError(
        f'base_checkpoint: {location!r} cannot be fetched ({str(failure).splitlines()[0]}); check the name and the '
        'network, or fetch it by other means and give its path'
    ) from failure


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_base(location: str) -> tuple[StateDict, str]:
    """Read the tensors of a base checkpoint without running any code that it may carry.

    MMEngine's own checkpoints (`epoch_12.pth`) hold more than tensors: log history and numpy's numbers. Those are
    passed over.

    Args:
        location: Path or URL.

    Returns:
        The backbone's tensors under their own keys (wrappers and prefixes removed), and the file's SHA-256.

    Raises:
        FileNotFoundError: If a local file does not exist.
        ValueError: If the file is no PyTorch checkpoint, `.safetensors` or `.npz`, holds what could run, or no tensors
            at all.
    """
    path = local_path(location)
    container = path.suffix.lower()
    try:
        if container == '.npz':
            content: Any = read_npz(path)
        elif container == '.safetensors':
            content = read_safetensors(path)
        else:
            content = read_torch(path, stand_ins=True)
        tensors = unwrap(content, location)
        check_tensors(tensors)
    except (FileNotFoundError, NoTensors):
        raise
    except Exception as error:  # any bytes may stand in the file, and the unpickler fails on them in as many ways
        means, mend = HOW.get(container, HOW_TORCH)
        raise ValueError(
            f'base_checkpoint: {location!r} does not load {means} ({reason_of(error)}); it is damaged or holds more '
            f'than tensors. {mend}'
        ) from error
    return tensors, sha256_of(path)


class NoTensors(ValueError):
    """A file that loads and holds no weights."""


def unwrap(content: object, location: str) -> dict[str, Any]:
    """Find a checkpoint's backbone tensors: inside `state_dict` or `model`, after `module.` and `backbone.`."""
    for key in ('state_dict', 'model'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    kept = (Tensor, StandIn)  # a tensor that could not be read is named later, not lost
    tensors = {str(k): v for k, v in content.items() if isinstance(v, kept)} if isinstance(content, Mapping) else {}
    for prefix in ('module.', 'backbone.'):
        if any(key.startswith(prefix) for key in tensors):
            tensors = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    if not tensors:
        raise NoTensors(
            f'base_checkpoint: {location!r} holds no tensors of a model (looked for `state_dict`, `model`, or tensors)'
        )
    return tensors
