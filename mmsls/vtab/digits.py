"""scikit-learn's bundled handwritten digits in the layout of a VTAB-1k task, a small task that needs no download.

`python -m mmsls.vtab.digits data/vtab-1k` writes it; `mmsls vtab --tasks digits` then runs it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mmsls.demo.digits import load_digit_pools

SIDE = 64
COUNTS = {'train800': 800, 'val200': 200}


def write_digits_task(root: str | Path, counts: dict[str, int] | None = None) -> Path:
    """Write the task `digits` under a root folder; nothing is done where its lists are there already.

    Training and validation images come from the demo's pool `train`, test images from its other two pools.

    Args:
        root: Folder that holds one folder per task.
        counts: Number of images per list; by default 800 and 200, and all others for `test`.

    Returns:
        The task's folder.
    """
    folder = Path(root) / 'digits'
    if (folder / 'test.txt').exists():
        return folder
    counts = counts or COUNTS
    pools = load_digit_pools()
    first = counts['train800']
    ink = {
        'train800': (pools['train'].images[:first], pools['train'].labels[:first]),
        'val200': (
            pools['train'].images[first:][: counts['val200']],
            pools['train'].labels[first:][: counts['val200']],
        ),
        'test': tuple(
            np.concatenate([getattr(pools[pool], field) for pool in ('val', 'test')])[: counts.get('test')]
            for field in ('images', 'labels')
        ),
    }
    lines = {name: _write_images(folder, name, *arrays) for name, arrays in ink.items()}
    lines['train800val200'] = lines['train800'] + lines['val200']
    for name in ('train800', 'val200', 'train800val200', 'test'):  # test.txt last: it says that all is there
        (folder / f'{name}.txt').write_text(''.join(lines[name]))
    return folder


def _write_images(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> list[str]:
    """Write a split's images, ink in black on white, and return its lines."""
    lines = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = Path('images') / split / str(label) / f'{number}.png'
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        paper = Image.fromarray(np.round((1 - image) * 255).astype(np.uint8))
        paper.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert('RGB').save(folder / path)
        lines.append(f'{path.as_posix()} {label}\n')
    return lines


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Write the task digits.')
    parser.add_argument('root', help='folder that holds one folder per task')
    sys.stdout.write(f'{write_digits_task(parser.parse_args().root)}\n')
