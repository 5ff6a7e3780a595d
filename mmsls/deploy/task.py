"""A task, as its folder says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from safetensors.torch import load_file
from torch import Tensor

from mmsls.cost.complexity import ParameterCounts
from mmsls.deploy.manifest import WEIGHTS, inside
from mmsls.pruning_index import PruningIndex
from mmsls.pruning_index.foundation import NAMED, Foundation


@dataclass(frozen=True)
class Task:
    """What a task folder says, its weights still on disk.

    Attributes:
        folder: Where it lies.
        name: The task's name.
        foundation: What it stands on, with the `name` of the backbone in the model.
        parameters: Numbers of parameters of the whole model.
        dataset_meta: Class names and such.
        config: What inference needs; the backbone stands at its kept depths.
        index: How the kept depths were decided, or None where no index did.
        trusted: Modules that whoever read the folder trusts.
    """

    folder: Path
    name: str
    foundation: Foundation
    parameters: ParameterCounts
    dataset_meta: dict[str, Any]
    config: Config
    index: PruningIndex | None
    trusted: tuple[str, ...] = ()

    @property
    def backbone(self) -> dict[str, Any]:
        """The foundation as the manifest has it."""
        return self.foundation.as_dict(NAMED)

    def tensors(self) -> dict[str, Tensor]:
        """Read the weights: adapters, heads, buffers of trained modules.

        Raises:
            ValueError: If the file is no safetensors file.
        """
        path = inside(self.folder, WEIGHTS)
        try:
            return load_file(path)
        except Exception as error:  # what is damaged fails in as many ways: header, types that torch lacks, lengths
            raise ValueError(f'{path} is not a safetensors file ({str(error)[:200]})') from error
