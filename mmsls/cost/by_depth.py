"""What a model costs at every depth that could be kept: measured once, and left in a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmsls.backbones.lookup import find_backbone
from mmsls.cost.complexity import count_macs, count_parameters, latencies
from mmsls.cost.measuring import first_images, run_once
from mmsls.files.reading import parse_json, read_text
from mmsls.files.writing import write_json
from mmsls.pruning_index.fields import checked
from mmsls.pruning_index.foundation import FINGERPRINT, fingerprinted
from mmsls.scoring.curve import is_int, is_real

FORMAT, VERSION = 'mmsls.depth_costs', 1
NAME = 'depth_costs.json'
"""What the file is called, beside the index."""
MEND = 'remove the file, and measure anew'
LONGEST = 1000
"""Characters of a text in the file."""
CUT = ('pruning_index', 'kept_depths', 'kept_blocks')
"""Arguments of a backbone that say what of it is kept; it takes one of them."""


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
            found = _checked(parse_json(text))
            if backbone is not None:
                _check_backbone(found.backbone, backbone)
            return found
        except ValueError as error:
            raise ValueError(f'depth costs {os.fspath(path)}: {str(error)[:500]}; {MEND}') from error


def measure(
    cfg: Config,
    depths: Iterable[Sequence[int]],
    checkpoint: str | None = None,
    repeats: int = 10,
    on_depth: Callable[[int, int], None] | None = None,
) -> DepthCosts:
    """Measure a config's model at some depths and at its full one, on its first test image.

    Args:
        cfg: The config; whatever it says of what is kept is left out.
        depths: Blocks that every stage keeps, once for each depth.
        checkpoint: Weights of the model at full depth.
        repeats: Timed rounds.
        on_depth: Called with (models built, models in all).

    Raises:
        ValueError: If a depth does not fit the backbone.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    whole = find_backbone(built(cfg, None))
    kept = {tuple(whole.depths), *(tuple(map(int, depth)) for depth in depths)}
    ordered = sorted(kept, key=lambda depth: (-sum(depth), depth))
    models: dict[tuple[int, ...], nn.Module] = {}
    for depth in ordered:
        models[depth] = built(cfg, depth, checkpoint)
        if on_depth:
            on_depth(len(models), len(ordered))
    batch = first_images(cfg, 'test' if cfg.get('test_dataloader') else 'val')
    forwards = {str(depth): partial(run_once, model, batch) for depth, model in models.items()}
    macs = {name: count_macs(forward) for name, forward in forwards.items()}
    seconds = latencies(forwards, repeats)
    return DepthCosts(
        backbone=whole.fingerprint(),
        machine=machine(),
        threads=torch.get_num_threads(),
        image=image_size(models[ordered[0]], batch),
        weights='' if checkpoint is None else Path(checkpoint).name,
        rows=tuple(
            DepthCost(depth, count_parameters(model).total, macs[str(depth)], seconds[str(depth)])
            for depth, model in models.items()
        ),
    )


def built(cfg: Config, kept_depths: Sequence[int] | None, checkpoint: str | None = None) -> nn.Module:
    """Return a config's model at some depth (None: the full one), where it runs."""
    model_cfg = deepcopy(cfg.model)
    for name in CUT:
        model_cfg.backbone.pop(name, None)
    if kept_depths is not None:
        model_cfg.backbone.kept_depths = tuple(kept_depths)
    model = MODELS.build(model_cfg)
    if checkpoint is not None:
        from mmengine.runner import load_checkpoint

        load_checkpoint(model, checkpoint, map_location='cpu')
    return model.eval().to(get_device())


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


def _checked(content: Any) -> DepthCosts:
    """Return costs of what a file holds, every field checked."""
    names = ('format', 'version', *DepthCosts.__dataclass_fields__)
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f'it must be an object with exactly the fields {", ".join(names)}')
    for field, (right, must) in _CHECKS.items():
        if not right(content[field]):
            raise ValueError(f'{field} is {repr(content[field])[:100]}; it must be {must}')
    backbone = fingerprinted(content['backbone']).as_dict(FINGERPRINT)
    rows = tuple(_row(f'rows[{number}]', row, backbone['depths']) for number, row in enumerate(content['rows']))
    if list(rows[0].kept_depths) != backbone['depths']:
        raise ValueError(
            f'rows[0].kept_depths is {list(rows[0].kept_depths)}; it must be {backbone["depths"]}, the full'
        )
    if len({row.kept_depths for row in rows}) != len(rows):
        raise ValueError('rows names a kept_depths twice; it must name each once')
    rest = {name: content[name] for name in ('machine', 'threads', 'weights')}
    return DepthCosts(backbone=backbone, image=tuple(content['image']), rows=rows, **rest)


def _row(place: str, row: Any, depths: Sequence[int]) -> DepthCost:
    names = tuple(DepthCost.__dataclass_fields__)
    if not isinstance(row, dict) or set(row) != set(names):
        raise ValueError(f'{place} is {repr(row)[:100]}; it must have exactly the fields {", ".join(names)}')
    kept = checked('kept_depths', row['kept_depths'], f'{place}.kept_depths')
    if len(kept) != len(depths) or any(n > full for n, full in zip(kept, depths, strict=True)):
        raise ValueError(f'{place}.kept_depths is {list(kept)}; it must fit the depths {list(depths)}')
    for name in ('parameters', 'macs'):
        if not is_int(row[name]) or row[name] < 0:
            raise ValueError(f'{place}.{name} is {row[name]!r}; it must be a whole number of at least 0')
    if not is_real(row['seconds']) or row['seconds'] <= 0:
        raise ValueError(f'{place}.seconds is {row["seconds"]!r}; it must be a number above 0')
    return DepthCost(kept, row['parameters'], row['macs'], float(row['seconds']))


def _check_backbone(ours: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    model = fingerprinted(fingerprint).as_dict(FINGERPRINT)
    for name in FINGERPRINT:
        if ours[name] != model[name]:
            raise ValueError(f'backbone.{name} is {ours[name]!r}, but {model[name]!r} in the index')


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    'format': (lambda value: value == FORMAT, repr(FORMAT)),
    'version': (lambda value: is_int(value) and value == VERSION, f'{VERSION}, which this release reads'),
    'machine': (_is_text, f'a text of at most {LONGEST} characters'),
    'threads': (lambda value: is_int(value) and value >= 1, 'a whole number of at least 1'),
    'image': (
        lambda value: isinstance(value, list) and len(value) == 2 and all(is_int(n) and n >= 1 for n in value),
        '[height, width] in pixels',
    ),
    'weights': (_is_text, f'a text of at most {LONGEST} characters'),
    'rows': (lambda value: isinstance(value, list) and bool(value), 'a list of at least one depth'),
}
"""What the fields must be; `backbone` and the rows are checked on their own."""
