"""Many tasks on one base: each task is a model of its own whose frozen parts belong to all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from mmsls.backbones import PrunedBackbone
from mmsls.backbones.adapted_layers import is_adapted
from mmsls.checkpoint import frozen_backbones
from mmsls.deploy.task_folder import Task, read_task
from mmsls.deploy.task_models import build_task


@dataclass(frozen=True)
class LibraryMemory:
    """Bytes of tensors, each storage once.

    Attributes:
        base: What the tasks share.
        tasks: What each task holds on top, by name.
    """

    base: int
    tasks: dict[str, int]

    @property
    def total(self) -> int:
        """Base and all tasks."""
        return self.base + sum(self.tasks.values())


class TaskLibrary:
    """Open any number of task folders on one base, and switch between them by name.

    `library['cells']` is an ordinary model in eval mode, with `cfg` and `dataset_meta`, for `inference_detector` and its kin. All models
    refer to the same frozen tensors and layers, so a further task costs its adapters, heads and what its module objects take. Switching is a
    look-up: nothing is copied or loaded, and threads may use any tasks at the same time.

    Tasks of different toolboxes can share a base too. Their inference functions build image pipelines in MMEngine's default scope, which is one
    for the whole process: call `init_default_scope(model.cfg.default_scope)` before another toolbox's.

    Args:
        base_checkpoint: Where the base lies; by default where the first task says.
        device: Where the models go.

    Example:
        >>> library = TaskLibrary('base.pth')
        >>> library.names, len(library)
        ((), 0)
    """

    def __init__(self, base_checkpoint: str | None = None, device: str = 'cpu') -> None:
        self.base_checkpoint, self.device = base_checkpoint, device
        self.base_sha256: str | None = None
        self._models: dict[str, nn.Module] = {}
        self._shared = SharedBase()
        self._lock = Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The open tasks."""
        return tuple(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __getitem__(self, name: str) -> nn.Module:
        """Return a task's model.

        Raises:
            KeyError: If no task of that name is open.
        """
        try:
            return self._models[name]
        except KeyError:
            raise KeyError(f'no task {name!r} is open; open: {", ".join(self._models) or "none"}') from None

    def open(self, folder: str | Path, name: str | None = None, trusted: Sequence[str] = ()) -> nn.Module:
        """Open a task folder.

        Args:
            folder: What `mmsls.deploy.task_folder.pack` wrote.
            name: The task's name here; by default its own.
            trusted: Modules of others that the task may import and build from (see `read_task`).

        Returns:
            The task's model, in eval mode.

        Raises:
            FileNotFoundError: If a part of the folder, or the base, is missing.
            ValueError: If the name is taken, the task stands on another base, or the folder is damaged; the library is as before then.
        """
        task = read_task(folder, trusted)
        name = task.name if name is None else name
        with self._lock:
            self._check(task, name)
            model = build_task(task, self.base_checkpoint, self.device).requires_grad_(False)
            for _, backbone in frozen_backbones(model):
                self._shared.adopt(backbone)
            self.base_sha256 = task.backbone['base_sha256']
            self._models[name] = model
        return model

    def close(self, name: str) -> None:
        """Forget a task; the base stays.

        Raises:
            KeyError: If no task of that name is open.
        """
        with self._lock:
            self[name]
            del self._models[name]

    def memory(self) -> LibraryMemory:
        """Count the bytes of the base and of each task."""
        base = storages(self._shared.tensors.values())
        tasks = {name: storages([*m.parameters(), *m.buffers()]) for name, m in self._models.items()}
        own = {name: sum(size for key, size in found.items() if key not in base) for name, found in tasks.items()}
        return LibraryMemory(sum(base.values()), own)

    def _check(self, task: Task, name: str) -> None:
        if name in self._models:
            raise ValueError(f'name: a task {name!r} is open already; close it, or give this one another name')
        theirs = task.backbone['base_sha256']
        if self.base_sha256 not in (None, theirs):
            raise ValueError(
                f'task {name!r} stands on the base with sha256 {theirs}, this library on {self.base_sha256}; open it in a library of its own'
            )


class SharedBase:
    """The frozen parts that the tasks have in common: tensors by state-dict key, layers of blocks by place."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._layers: dict[tuple[Any, ...], nn.Module] = {}

    def adopt(self, backbone: PrunedBackbone) -> None:
        """Replace a backbone's frozen parts by the shared ones; what no task had before becomes shared."""
        trained = set(backbone.trained_keys())
        for key, table, name in owned_tensors(backbone):
            if key not in trained:
                table[name] = self._shared(key, table[name])
        ours = {id(tensor) for tensor in self.tensors.values()}
        for block_id, block in backbone.iter_blocks():
            for name, layer in block.named_children():
                if not is_task_specific(layer, ours):
                    block._modules[name] = self._layers.setdefault((block_id, name, make_of(layer)), layer)

    def _shared(self, key: str, tensor: Tensor) -> Tensor:
        """Return the shared tensor for a key; another host, image size or window may need one of its own."""
        known = self.tensors.setdefault(key, tensor)
        equal = known.shape == tensor.shape and known.dtype == tensor.dtype and torch.equal(known, tensor)
        return known if equal else tensor


def owned_tensors(module: nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each parameter and buffer as its state-dict key, the table that holds it, and its name there."""
    for prefix, child in module.named_modules():
        for table in (child._parameters, child._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    yield f'{prefix}.{name}' if prefix else name, table, name


def is_task_specific(layer: nn.Module, shared: set[int]) -> bool:
    """Whether a layer holds a tensor that is not shared, computes through an adapter, or is watched by a hook."""
    return any(
        is_adapted(module) or module._forward_hooks or module._forward_pre_hooks for module in layer.modules()
    ) or any(id(table[name]) not in shared for _, table, name in owned_tensors(layer))


def make_of(layer: nn.Module) -> tuple[Any, ...]:
    """Return what a layer and its children are besides their tensors: types and plain attributes."""
    plain = (bool, int, float, str, tuple)
    return tuple(
        (type(module), tuple((key, value) for key, value in vars(module).items() if isinstance(value, plain)))
        for module in layer.modules()
    )


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return the bytes of each distinct storage by its address."""
    found = (tensor.untyped_storage() for tensor in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in found}
