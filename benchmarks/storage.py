"""What 19 tasks cost to store: SLS (a base, 19 slim files and indices), DepGraph (19 pruned models), 19 full models.

Every file is really written (to a temporary folder) and its size taken. The weights are untrained, which changes no
size: what a file holds follows from the task's number of classes, the adapter and the depth. DepGraph's models have as
many parameters as those of SLS.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from common import show
from mmengine.config import Config

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.checkpoint import slim
from mmsls.criteria.depgraph import share_to_prune
from mmsls.criteria.narrowing import inner_layers, widths_of
from mmsls.pruning_index import PruningIndex
from mmsls.vtab.comparison import CLASSIFIER
from mmsls.vtab.facts import task_names
from mmsls.vtab.settings import for_task


def write_random_base(cfg: Config, folder: Path) -> None:
    """Give a config a base of random values, where its own is not at hand."""
    plain = Config(cfg.to_dict())
    plain.model.backbone.update(base_checkpoint=None, adapter=None)
    torch.save(runs.build_model(plain).backbone.state_dict(), folder / 'base.pth')
    cfg.model.backbone.base_checkpoint = str(folder / 'base.pth')


def save_slim(cfg: Config, path: Path) -> int:
    """Write what SLS stores of a task, weights and index, and return its bytes."""
    model = runs.build_model(cfg)
    checkpoint: dict[str, Any] = {'state_dict': model.state_dict(), 'meta': {}}
    slim(model, checkpoint)
    torch.save(checkpoint, path)
    backbone = find_backbone(model)
    blocks = [(stage, block) for stage, depth in enumerate(backbone.depths) for block in range(depth)]
    scores = {block: 0.01 * (number + 1) / len(blocks) for number, block in enumerate(blocks)}
    index = PruningIndex.create(
        scores=scores, backbone=backbone.fingerprint(), adapter=backbone.adapter_cfg, base_sha256=backbone.base_sha256
    )
    index.save(path.with_suffix('.json'))
    return path.stat().st_size + path.with_suffix('.json').stat().st_size


def save_depgraph(cfg: Config, path: Path) -> int:
    """Write a pruned model of as many parameters, and return its bytes."""
    target = sum(p.numel() for p in runs.build_model(cfg).parameters())
    whole = Config(cfg.to_dict())
    whole.model.backbone.pop('kept_depths')
    full = runs.build_model(whole)
    layers = list(chain(*inner_layers(full.backbone)))
    share = share_to_prune(full, layers, target)
    widths = [(round(head * (1 - share)), round(hidden * (1 - share))) for head, hidden in widths_of(layers)]
    whole.model.update(type=CLASSIFIER, inner_widths=widths)
    return save_whole(whole, path)


def save_full(cfg: Config, path: Path) -> int:
    """Write a fully fine-tuned model, which has no adapters, and return its bytes."""
    whole = Config(cfg.to_dict())
    whole.model.backbone.pop('kept_depths')
    whole.model.backbone.adapter = None
    return save_whole(whole, path)


def save_whole(cfg: Config, path: Path) -> int:
    torch.save({'state_dict': runs.build_model(cfg).state_dict(), 'meta': {}}, path)
    size = path.stat().st_size
    path.unlink()  # 19 whole models of ViT-B would fill the disk
    return size


WAYS: dict[str, Callable[[Config, Path], int]] = {
    'SLS': save_slim,
    'DepGraph, same parameters': save_depgraph,
    'full fine-tuning': save_full,
}


def depths(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(',')))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/cls/vtab/deit-tiny_convpass.py', help='%(default)s')
    parser.add_argument(
        '--kept', type=depths, default=(7,), help='blocks that SLS keeps per stage, comma-separated (7)'
    )
    parser.add_argument('--random-base', action='store_true', help="write random values in place of the config's base")
    args = parser.parse_args()
    cfg = runs.load_config(args.config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.random_base:
            write_random_base(cfg, folder)
        rows = []
        for way, write in WAYS.items():
            sizes = []
            for task in task_names():
                task_cfg = for_task(cfg, task)
                task_cfg.model.backbone.kept_depths = args.kept
                sizes.append(write(task_cfg, folder / f'{task}.pth'))
            base = Path(cfg.model.backbone.base_checkpoint).stat().st_size if write is save_slim else 0
            rows.append((way, *(f'{size / 2**20:.2f}' for size in (base, min(sizes), max(sizes), base + sum(sizes)))))
    total = float(rows[0][-1])
    rows = [(*row, f'{float(row[-1]) / total:.1f}x') for row in rows]
    header = ('stored', 'base MiB', 'smallest task MiB', 'largest task MiB', '19 tasks MiB', 'ratio')
    show(f'{Path(args.config).stem}, {sum(args.kept)} blocks kept', header, rows)


if __name__ == '__main__':
    main()
