"""Many tasks on one base: time to switch, and memory of 1, 5 and 20 tasks, against as many models of their own.

Detectors (a small RetinaNet on Swin-T, Convpass) at three kept depths in turns, with random weights. Each row is
measured in a process of its own, because freed memory does not always go back to the system.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch
from common import show
from mmengine.config import Config

from mmsls import runs
from mmsls.checkpoint import slim
from mmsls.cost.complexity import timed
from mmsls.deploy.task_folder import pack, read_task
from mmsls.deploy.task_library import TaskLibrary, storages
from mmsls.deploy.task_models import build_task
from mmsls.integrations.mmdet import PrunedSwinTransformer

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (1, 5, 20)
DEPTHS = ((2, 2, 6, 2), (2, 2, 4, 1), (2, 2, 2, 1))
SWIN_T = {'embed_dims': 96, 'depths': (2, 2, 6, 2), 'num_heads': (3, 6, 12, 24), 'window_size': 7}


def make_tasks(folder: Path) -> list[str]:
    """Write a base and one task folder for each of the depths."""
    base = str(folder / 'base.pth')
    torch.save(PrunedSwinTransformer(**SWIN_T).state_dict(), base)
    paths = []
    for number, depths in enumerate(DEPTHS):
        cfg = Config.fromfile(ROOT / 'configs/bccd/tune.py')
        cfg.model.backbone.update(**SWIN_T, base_checkpoint=base, kept_depths=depths)
        cfg.model.neck.in_channels = [192, 384, 768]
        model = runs.build_model(cfg)
        checkpoint = {'meta': {}, 'state_dict': model.state_dict()}
        slim(model, checkpoint)
        torch.save(checkpoint, folder / 'slim.pth')
        paths.append(str(pack(cfg, folder / 'slim.pth', folder / f'task{number}').folder))
    return paths


def resident() -> int:
    """Return the bytes that the process holds in memory, 0 where the system does not tell."""
    status = Path('/proc/self/status')
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmRSS'))


@torch.no_grad()
def measure(kind: str, count: int, paths: list[str]) -> dict[str, float]:
    """Open the tasks one way or the other, and return seconds and bytes."""
    image = torch.randn(1, 3, 224, 224)
    build_task(read_task(paths[0]))(image, mode='tensor')  # what is loaded or cached once does not count
    before, start = resident(), time.perf_counter()
    names = [f'task{number}' for number in range(count)]
    if kind == 'library':
        library = TaskLibrary()
        for name, path in zip(names, islice(cycle(paths), count), strict=False):
            library.open(path, name)
        models, tensors = library, library.memory().total
    else:
        models = {name: build_task(read_task(path)) for name, path in zip(names, cycle(paths), strict=False)}
        tensors = sum(storages(t for m in models.values() for t in [*m.parameters(), *m.buffers()]).values())
    opened, held = time.perf_counter() - start, resident() - before
    for name in names:
        models[name](image, mode='tensor')
    same = median(timed(lambda: models[names[0]](image, mode='tensor')) for _ in range(7))
    back_and_forth = []
    for _ in range(7):
        models[names[-1]](image, mode='tensor')
        back_and_forth.append(timed(lambda: models[names[0]](image, mode='tensor')))
    lookup = median(timed(lambda: models[names[-1]]) for _ in range(1000))
    return {
        'open': opened / count,
        'resident': held,
        'tensors': tensors,
        'same': same,
        'switched': median(back_and_forth),
        'lookup': lookup,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--child', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, count, *paths = args.child
        print(json.dumps(measure(kind, int(count), paths)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = make_tasks(Path(folder))
        for kind, count in ((kind, count) for kind in ('library', 'full models') for count in COUNTS):
            command = [sys.executable, __file__, '--child', kind, str(count), *paths]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = json.loads(output.splitlines()[-1])
            rows.append(
                (
                    f'{kind}, {count}',
                    f'{found["tensors"] / 2**20:.0f}',
                    f'{found["resident"] / 2**20:.0f}',
                    f'{found["open"] * 1e3:.0f}',
                    f'{found["lookup"] * 1e3:.4f}',
                    f'{found["same"] * 1e3:.1f}',
                    f'{found["switched"] * 1e3:.1f}',
                )
            )
    header = ('tasks', 'tensors MiB', 'process MiB', 'open ms', 'switch ms', 'forward ms', 'after a switch ms')
    show('One base and its tasks: small RetinaNet on Swin-T, 1x224x224', header, rows)


if __name__ == '__main__':
    main()
