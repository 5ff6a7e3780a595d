"""What a model costs at every depth that could be kept: measured once, and left in a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmsls.backbones.arguments import CUT
from mmsls.backbones.lookup import find_backbone
from mmsls.cost.complexity import count_macs, count_parameters, latencies
from mmsls.cost.depth_fields import FORMAT, VERSION, check_backbone, checked_costs
from mmsls.cost.measuring import first_images, run_once
from mmsls.files.reading import parse_json, read_text
from mmsls.files.writing import write_json

NAME = 'depth_costs.json'
"""What the file is called, beside the index."""
MEND = 'remove the file, and measure anew'


@dataclass(frozen=True)
class DepthCost:
    """What the whole model, head included, costs at one depth.

    Attributes:
        kept_depths: How many blocks every stage keeps.
        parameters: All that the model holds.
        macs: Multiply-accumulates of one test image.
        seconds: Median of one test image, all depths in turns in one process.
    """

    kept_depths: tuple[int, ...]
    parameters: int
    macs: int
    seconds: float


@dataclass(frozen=True)
class DepthCosts:
    """What a model costs at every depth that was measured.

    Attributes:
        backbone: Fingerprint of the backbone: `type`, `embed_dims` and full `depths`.
        machine: What it was measured on.
        threads: Threads that torch had.
        image: Height and width in pixels of what the model was given.
        weights: File name of the weights; empty: as the model is built, so that what a detector's head finds, and the
            time that it takes over it, are arbitrary.
        rows: One per depth, deepest first; the full depth is among them.
    """

    backbone: dict[str, Any]
    machine: str
    threads: int
    image: tuple[int, int]
    weights: str
    rows: tuple[DepthCost, ...]

    def at(self, kept_depths: Sequence[int]) -> DepthCost | None:
        """Return what a depth costs; None where it was not measured."""
        return next((row for row in self.rows if row.kept_depths == tuple(kept_depths)), None)

    @property
    def full(self) -> DepthCost:
        """What the whole model costs."""
        return self.rows[0]

    @property
    def told(self) -> str:
        """What it was measured on, in words."""
        weights = self.weights or 'weights as built'
        return (
            f'one test image of {self.image[0]} x {self.image[1]} on {self.machine}, {self.threads} threads, {weights}'
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the costs as JSON; the file is there whole or not at all."""
        write_json({'format': FORMAT, 'version': VERSION, **asdict(self)}, os.path.expanduser(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], backbone: Mapping[str, Any] | None = None) -> DepthCosts:
        """Read costs and check every field of them.

        Args:
            path: The file.
            backbone: Fingerprint of the backbone that they must be of; None: of any.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no such file or of another backbone; the message names the file, the field, its value
                and the mend.
        """
        text = read_text(os.path.expanduser(path))
        try:
            content = checked_costs(parse_json(text), (*cls.__dataclass_fields__,), (*DepthCost.__dataclass_fields__,))
            if backbone is not None:
                check_backbone(content['backbone'], backbone)
            rows = tuple(DepthCost(**row) for row in content['rows'])
            return cls(**{**content, 'image': tuple(content['image']), 'rows': rows})
        except ValueError as error:
            raise ValueError(f'depth costs {os.fspath(path)}: {str(error)[:500]}; {MEND}') from error


def measure(
    cfg: Config,
    depths: Iterable[Sequence[int]],
    checkpoint: str | None = None,
    repeats: int = 10,
    backbone: Mapping[str, Any] | None = None,
) -> DepthCosts:
    """Measure a config's model at some depths and at its full one, on its first test image.

    The models share their weights, so that they take little more room than the deepest.

    Args:
        cfg: The config; whatever it says of what is kept is left out.
        depths: Blocks that every stage keeps, once for each depth.
        checkpoint: Weights of the model at full depth.
        repeats: Timed rounds.
        backbone: Fingerprint of the backbone that it must be; None: any.

    Raises:
        ValueError: If a depth does not fit the backbone, or it is another one.
    """
    whole = built(cfg, None, checkpoint)
    found = find_backbone(whole)
    if backbone is not None:
        check_backbone(found.fingerprint(), backbone, '; give the config that the scored model was built by')
    models = {found.depths: whole}
    for depth in sorted({tuple(map(int, depth)) for depth in depths} - {found.depths}, key=lambda d: (-sum(d), d)):
        models[depth] = sharing(built(cfg, depth), whole)
    batch = first_images(cfg, 'test' if cfg.get('test_dataloader') else 'val')
    forwards = {str(depth): partial(run_once, model, batch) for depth, model in models.items()}
    seconds = latencies(forwards, repeats)
    return DepthCosts(
        backbone=found.fingerprint(),
        machine=machine(),
        threads=torch.get_num_threads(),
        image=image_size(whole, batch),
        weights='' if checkpoint is None else Path(checkpoint).name,
        rows=tuple(
            DepthCost(depth, count_parameters(model).total, count_macs(forwards[str(depth)]), seconds[str(depth)])
            for depth, model in models.items()
        ),
    )


def built(cfg: Config, kept_depths: Sequence[int] | None, checkpoint: str | None = None) -> nn.Module:
    """Return a config's model at some depth (None: the full one), where it runs."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model_cfg = deepcopy(cfg.model)
    for name in CUT:
        model_cfg.backbone.pop(name, None)
    if kept_depths is not None:
        model_cfg.backbone.kept_depths = tuple(kept_depths)
    model = MODELS.build(model_cfg)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, map_location='cpu')
    return model.eval().to(get_device())


def sharing(model: nn.Module, whole: nn.Module) -> nn.Module:
    """Give a model the tensors of the whole one in the place of its own, wherever name and shape agree."""
    theirs = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in theirs and theirs[name].shape == tensor.shape:
            tensor.data = theirs[name].data
    return model


def image_size(model: Any, batch: Any) -> tuple[int, int]:
    """Return the height and width that a model is given of a batch, padding included."""
    inputs = model.data_preprocessor(deepcopy(batch), training=False)['inputs']
    height, width = inputs.shape[-2:]
    return int(height), int(width)


def machine() -> str:
    """Return the name of what models run on here."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
