"""Several tasks on one image: what their backbones compute alike runs once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmsls.backbones.trunk import SharedTrunk
from mmsls.checkpoint import sole_backbone
from mmsls.deploy.image_reader import reader
from mmsls.deploy.shared_base import light_copy


class TasksTogether(Mapping[str, nn.Module]):
    """Tasks on one base of which the lower blocks, where no task has adapters, run once per image.

    `together('image.jpg')` gives every task's prediction. Each `together[name]` is an ordinary model as well, for
    `inference_detector` and its kin; one after the other on the same image, they share the trunk too. What they give is
    what `library[name]` gives. They are copies without memory of their own: what is done to `library[name]` later
    changes nothing here.

    Args:
        models: Tasks of a library, by name.

    Attributes:
        shared: How many of its blocks each task takes from the others, by name.

    Raises:
        ValueError: If tasks have no block to share (adapters in the lowest one, other bases), or their models see
            images otherwise; the message says why.

    Example:
        >>> TasksTogether({})
        Traceback (most recent call last):
        ...
        ValueError: together: it takes at least one task, got none
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        if not models:
            raise ValueError('together: it takes at least one task, got none')
        check_images(models)
        self._models: dict[str, Any] = {name: light_copy(model) for name, model in models.items()}
        backbones = {name: sole_backbone(model, name)[1] for name, model in self._models.items()}
        self._trunk = SharedTrunk(backbones)
        self.shared = self._trunk.shared
        self._readers = {name: reader(model.cfg, name) for name, model in self._models.items()}

    @property
    def runs(self) -> int:
        """How often the trunk ran."""
        return self._trunk.runs

    def __getitem__(self, name: str) -> nn.Module:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __call__(self, image: str | Path | np.ndarray) -> dict[str, Any]:
        """Return every task's prediction, its host's data sample, by name.

        Args:
            image: A file, or an image (H, W, 3) as OpenCV reads it, blue first.

        Raises:
            ValueError: If the test pipelines of two tasks make different inputs of the image.
        """
        self._trunk.one_input()
        try:
            return {name: self._predicted(name, image) for name in self}
        finally:
            self._trunk.forget()

    @torch.no_grad()
    def _predicted(self, name: str, image: str | Path | np.ndarray) -> Any:
        packed = self._readers[name](image)
        return self._models[name].test_step({key: [value] for key, value in packed.items()})[0]


def check_images(models: Mapping[str, nn.Module]) -> None:
    """Refuse tasks whose models look at an image in other ways.

    Raises:
        ValueError: Naming both, and what differs.
    """
    (first, model), *_ = models.items()
    for name, other in models.items():
        if (getattr(other, 'test_cfg', None) or {}).get('mode') == 'slide':
            raise ValueError(
                f"together: {name!r} looks at crops of the image (test_cfg.mode='slide'); set mode='whole'"
            )
        ours, theirs = normalisation(model), normalisation(other)
        if ours != theirs:
            raise ValueError(
                f'together: {first!r} and {name!r} share no trunk, their data_preprocessors have (mean, std, channels '
                f'swapped) {ours} and {theirs}'
            )


def normalisation(model: Any) -> tuple[Any, ...]:
    """Return mean, std and whether channels are swapped, as the toolboxes' preprocessors have them."""
    found = [getattr(model.data_preprocessor, part, None) for part in ('mean', 'std')]
    swaps = ('_channel_conversion', 'to_rgb')
    swapped = any(getattr(model.data_preprocessor, flag, False) for flag in swaps)
    return *(part.flatten().tolist() if isinstance(part, Tensor) else part for part in found), swapped
