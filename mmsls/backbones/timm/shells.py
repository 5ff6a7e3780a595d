"""Models without storage, to ask for classes and shapes: PyTorch's meta device, without the time that filling takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLING = frozenset(
    getattr(Tensor, name)
    for name in ('uniform_', 'normal_', 'erfinv_', 'mul_', 'add_', 'clamp_', 'zero_', 'fill_', 'copy_')
)
"""What gives a tensor other values, in place: nothing on a device that has none."""


class Unfilled(TorchFunctionMode):
    """Leave out what would only fill tensors; PyTorch looks each of these up anew for every tensor on that device."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the tensor as it is, or what the function gives."""
        return args[0] if func in FILLING else func(*args, **(kwargs or {}))


@contextmanager
def without_storage() -> Iterator[None]:
    """Let models that are built inside the context have shapes and no values."""
    with torch.device('meta'), Unfilled():
        yield
