"""Several tasks on one image: one pass of the shared trunk and the tasks' tops, against a pass for each task.

Backbones of DINOv2-S's shape (patches of 14 pixels, four registers) at 224x224 on one random base, Convpass of rank 8
in the upper blocks alone. Both ways run in turns in one process.
"""

from __future__ import annotations

import argparse
import tempfile
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import show
from torch import Tensor

from mmsls.backbones.timm.backbone import PrunedTimmBackbone
from mmsls.backbones.timm.creating import created
from mmsls.backbones.trunk import SharedTrunk
from mmsls.cost.complexity import timed
from mmsls.deploy.shared_base import light_copy

NAME = 'vit_small_patch14_reg4_dinov2'
COUNTS = (1, 5, 20)
DEPTH = 12


def make_tasks(base: str, lowest: int) -> dict[str, PrunedTimmBackbone]:
    """Return tasks with adapters from a block up, each with values of its own, their frozen tensors one in memory."""
    adapter = {'type': 'mmsls.Convpass', 'rank': 8, 'blocks': list(range(lowest, DEPTH))}
    arguments = {'img_size': 224, 'out_indices': (2, 5, 8, 11), 'base_checkpoint': base, 'adapter': adapter}
    first = PrunedTimmBackbone(NAME, **arguments).eval()
    frozen = [tensor for tensor in [*first.parameters(), *first.buffers()] if not tensor.requires_grad]
    tasks = {
        f'task{number}': deepcopy(first, {id(tensor): tensor for tensor in frozen}) for number in range(max(COUNTS))
    }
    with torch.no_grad():
        for backbone in tasks.values():
            for parameter in backbone.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.02)
    return tasks


def run(models: dict[str, Any], image: Tensor) -> tuple[float, list[Tensor]]:
    """Return the seconds that all models take for an image, and what they put out."""
    outs: list[Tensor] = []
    return timed(lambda: [outs.extend(model(image)) for model in models.values()]), outs


@torch.no_grad()
def measure(alone: dict[str, PrunedTimmBackbone], lowest: int, repeats: int) -> tuple[str, ...]:
    """Return a row: seconds both ways, their ratio, what the blocks alone would give, and the largest difference."""
    count = len(alone)
    together = {name: light_copy(backbone) for name, backbone in alone.items()}
    trunk = SharedTrunk(together)
    images = [torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(n)) for n in range(repeats + 1)]
    seconds: list[tuple[float, float]] = []
    difference = 0.0
    for image in images:
        one, other = (run(models, image) for models in (alone, together))
        seconds.append((one[0], other[0]))
        difference = max(difference, *(float((x - y).abs().max()) for x, y in zip(one[1], other[1], strict=True)))
    assert trunk.runs == len(images)
    first, second = (median(found[1:]) for found in zip(*seconds, strict=True))  # the first image warms up
    blocks = (lowest + count * (DEPTH - lowest)) / (count * DEPTH)
    return (
        f'{count}',
        f'{lowest} of {DEPTH}',
        f'{first * 1e3:.0f}',
        f'{second * 1e3:.0f}',
        f'{second / first:.2f}',
        f'{blocks:.2f}',
        f'{difference:.1e}',
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        base = str(Path(folder) / 'base.pth')
        torch.save(created(NAME, 224, {}).state_dict(), base)
        rows = []
        for lowest in (8, 10):
            tasks = list(make_tasks(base, lowest).items())
            rows += [measure(dict(tasks[:count]), lowest, repeats) for count in COUNTS]
    header = ('tasks', 'blocks shared', 'passes ms', 'together ms', 'together / passes', 'by blocks', 'max difference')
    show('One trunk and the tops of its tasks: DINOv2-S, 1x224x224', header, rows)


if __name__ == '__main__':
    main()
