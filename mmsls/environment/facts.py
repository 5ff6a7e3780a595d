"""What is installed here, as plain data: what `mmsls doctor` looks at, and prints."""

from __future__ import annotations

import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path

from mmsls.environment.hosts import HOSTS, installed_version, is_there

STACK = {
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    **{host.module: (host.onedl, host.official) for host in HOSTS.values()},
}
"""What Python imports, and every distribution that it may come from."""
OTHERS = ('torch', 'torchvision', 'timm', 'numpy', 'scikit-learn', 'safetensors')
IMPORTED = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv._ext', *HOSTS)


@dataclass(frozen=True)
class Facts:
    """An environment.

    Attributes:
        python: Version of Python, such as `'3.11.7'`.
        system: Operating system and processor.
        mmsls: Version of mmsls and where it lies.
        versions: Version of every distribution that is installed, of those that matter.
        failures: Of what is installed and could not be imported, the module and the last line that was said.
        ops: What happened when mmcv's nms was run; empty where it worked or could not be tried.
        built_for: CUDA version that torch was built for; empty where it is for the CPU alone.
        gpu: The CUDA device; empty without one.
        caches: Folders that pre-trained weights are fetched to, by the environment variable that names another place,
            and why nothing can be written there; empty where it can.
    """

    python: str
    system: str = ''
    mmsls: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    ops: str = ''
    built_for: str = ''
    gpu: str = ''
    caches: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def version(self, module: str) -> str | None:
        """Return the version of what a module comes from, None where that is not installed."""
        return next((self.versions[name] for name in STACK.get(module, (module,)) if name in self.versions), None)


def gather(mmsls_version: str) -> Facts:
    """Look at this environment; modules are imported, which takes seconds.

    Args:
        mmsls_version: Of mmsls itself.
    """
    names = [*OTHERS, *(name for names in STACK.values() for name in names)]
    found = {name: installed_version(name) for name in names}
    failures = {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what hosts warn of as they are imported
        for module in IMPORTED:
            trouble = failure(partial(import_module, module)) if is_there(module.partition('.')[0]) else ''
            if trouble:
                failures[module] = trouble
        ops = '' if 'mmcv._ext' in failures or not is_there('mmcv') else failure(run_nms)
    return Facts(
        python=platform.python_version(),
        system=f'{platform.system()} {platform.release()}, {platform.machine()}',
        mmsls=f'{mmsls_version} ({Path(__file__).resolve().parents[1]})',
        versions={name: version for name, version in found.items() if version is not None},
        failures=failures,
        ops=ops,
        **({} if 'torch' in failures or not is_there('torch') else cuda()),
        caches={name: (str(path), failure(partial(write_into, path))) for name, path in cache_folders().items()},
    )


def failure(action: Callable[[], object]) -> str:
    """Do something and return what it raised, in one line; empty where it worked.

    Example:
        >>> failure(lambda: 1), failure(lambda: 1 / 0)
        ('', 'ZeroDivisionError: division by zero')
    """
    try:
        action()
    except Exception as error:  # whatever a broken package raises is to be told, not to end the telling
        lines = str(error).strip().splitlines()
        return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__
    return ''


def run_nms() -> None:
    """Run the op that every detector needs, on two boxes that overlap.

    Raises:
        RuntimeError: If it keeps anything but the first.
    """
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]])
    _, kept = nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    if kept.tolist() != [0]:
        raise RuntimeError(f'nms kept {kept.tolist()} of two boxes that overlap, not [0]')


def cuda() -> dict[str, str]:
    """Return the fields of `Facts` on CUDA."""
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ''
    return {'built_for': torch.version.cuda or '', 'gpu': device}


def cache_folders() -> dict[str, Path]:
    """Return where torch and the Hugging Face hub keep what they fetch, without importing them."""
    home = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    torch = Path(os.environ.get('TORCH_HOME', f'{home}/torch')).expanduser()
    hub = Path(os.environ.get('HF_HOME', f'{home}/huggingface')).expanduser() / 'hub'
    return {
        'TORCH_HOME': torch / 'hub/checkpoints',
        'HF_HUB_CACHE': Path(os.environ.get('HF_HUB_CACHE', hub)).expanduser(),
    }


def write_into(folder: Path) -> None:
    """Write a file into a folder, or the next one above it that exists, and remove it.

    Raises:
        OSError: If it cannot be written.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass
