"""Many tasks on one base: each task is a model of its own whose frozen parts belong to all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from torch import Tensor, nn

from mmsls.checkpoint import frozen_backbones
from mmsls.deploy.shared_base import SharedBase
from mmsls.deploy.task import Task
from mmsls.deploy.task_folder import read_task
from mmsls.deploy.task_models import build_task
from mmsls.deploy.together import TasksTogether


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

    `library['cells']` is an ordinary model in eval mode, with `cfg` and `dataset_meta`, for `inference_detector` and
    its kin. The memory of all frozen tensors is one, so a further task costs its adapters, heads and what its module
    objects take. Switching is a look-up: nothing is copied or loaded, and threads may use any tasks at the same time.

    A model is its task's own: `.half()`, `.to()`, `requires_grad_()`, `load_state_dict` and merging on one leave the
    others as they are (and what they convert takes memory of its own from then on). Only who writes into a frozen
    tensor in place, as an optimizer does, writes into all.

    Tasks of different toolboxes can share a base too. Their inference functions build image pipelines in MMEngine's
    default scope, which is one for the whole process: call `init_default_scope(model.cfg.default_scope)` before another
    toolbox's.

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
            ValueError: If the name is taken, the task stands on another base, or the folder is damaged; the library is
                as before then.
        """
        task = read_task(folder, trusted)
        name = task.name if name is None else name
        with self._lock:
            self._check(task, name)
            model = build_task(task, self.base_checkpoint, self.device).requires_grad_(False)
            for _, backbone in frozen_backbones(model):
                self._shared.adopt(backbone)
            self.base_sha256 = task.foundation.base_sha256
            self._models[name] = model
        return model

    def together(self, names: Iterable[str] | None = None) -> TasksTogether:
        """Let tasks run what their backbones compute alike once per image: `library.together()('image.jpg')`.

        Args:
            names: Of open tasks; by default all.

        Raises:
            KeyError: If no task of a name is open.
            ValueError: If one of them has no block to share, or sees images otherwise; the message says why.
        """
        with self._lock:
            return TasksTogether({name: self[name] for name in (self.names if names is None else names)})

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
        theirs = task.foundation.base_sha256
        if self.base_sha256 not in (None, theirs):
            raise ValueError(
                f'task {name!r} stands on the base with sha256 {theirs}, this library on {self.base_sha256}; open it '
                'in a library of its own'
            )


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return the bytes of each distinct storage by its address."""
    found = (tensor.untyped_storage() for tensor in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in found}
