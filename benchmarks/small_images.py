"""Small labelled images to pre-train a base with: digits, hands that sign digits, street-scene patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mmsls.demo.digits import DigitPool, load_digit_pools, render_digit
from mmsls.demo.nano_swin import MEAN, STD

_CAMVID_CLASSES = 11
NUM_CLASSES = 10 + 10 + _CAMVID_CLASSES
"""Of all three together."""
_SIDE = 64
_DOMINANT = 0.6
_CANVAS, _SIZES, _JITTER = 48, (26, 44), 2  # pixels of a drawn digit

Source = Callable[[int, np.random.Generator], tuple[Tensor, Tensor]]
"""Draws n normalised images, (n, 3, 64, 64), and their classes, (n,)."""


def sources(data_root: str | Path, split: str) -> dict[str, Source]:
    """Open the three data sets; their classes follow each other.

    Args:
        data_root: Folder with ``sign_digits`` and ``camvid``.
        split: ``train`` or ``val``.

    Raises:
        FileNotFoundError: If a data set is not there.
    """
    root, augment = Path(data_root), split == 'train'
    listing = {'train': 'train800.txt', 'val': 'val200.txt'}[split]
    return {
        'digits': _digit_source(split),
        'sign_digits': _sign_source(_existing(root / 'sign_digits' / listing), augment),
        'camvid': _patch_source(_existing(root / 'camvid' / 'img_dir' / split), augment),
    }


def _existing(path: Path) -> Path:
    """Return a path that is there."""
    if not path.exists():
        raise FileNotFoundError(f'data_root: no {str(path)!r}; give the folder that holds sign_digits and camvid')
    return path


def single_digits(pool: DigitPool, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Draw digits alone, white on black, roughly centred, of several sizes; normalised, shape (n, 3, 48, 48)."""
    canvas = np.zeros((len(rows), _CANVAS, _CANVAS), np.float32)
    for image, row in zip(canvas, rows, strict=True):
        glyph = render_digit(pool.images[row], int(rng.integers(*_SIZES, endpoint=True)))[:_CANVAS, :_CANVAS]
        shift = rng.integers(-_JITTER, _JITTER, 2, endpoint=True)
        top, left = (
            int(np.clip((_CANVAS - side) // 2 + by, 0, _CANVAS - side))
            for side, by in zip(glyph.shape, shift, strict=True)
        )
        image[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
    pixels = torch.from_numpy(canvas * 255)[:, None]
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _digit_source(split: str) -> Source:
    pool = load_digit_pools()[split]

    def draw(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows = rng.integers(len(pool.labels), size=count)
        images = F.interpolate(single_digits(pool, rows, rng), (_SIDE, _SIDE), mode='bilinear')
        return images, torch.from_numpy(pool.labels[rows])

    return draw


def _sign_source(listing: Path, augment: bool) -> Source:
    lines = [line.rsplit(' ', 1) for line in listing.read_text().splitlines()]
    photos = [Image.open(listing.parent / name).convert('RGB') for name, _ in lines]
    labels = np.array([int(label) for _, label in lines]) + 10

    def draw(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows = rng.integers(len(photos), size=count)
        crops = [_crop(photos[row], rng.uniform(0.75, 1.0) if augment else 1.0, rng)[0] for row in rows]
        return _normalised(crops, augment, rng), torch.from_numpy(labels[rows])

    return draw


def _patch_source(folder: Path, augment: bool) -> Source:
    files = sorted(folder.iterdir())
    photos = [Image.open(file).convert('RGB') for file in files]
    maps = folder.parent.parent / 'ann_dir' / folder.name
    labels = [Image.open(maps / f'{file.stem}.png') for file in files]

    def one(rng: np.random.Generator) -> tuple[Image.Image, int]:
        while True:
            row = rng.integers(len(photos))
            crop, box = _crop(photos[row], rng.uniform(0.15, 0.5), rng)
            counts = np.bincount(np.asarray(labels[row].crop(box)).ravel(), minlength=_CAMVID_CLASSES)
            # Road, building and sky fill most patches: a class is drawn less often the more common it is.
            best = int(counts[:_CAMVID_CLASSES].argmax())
            if counts[best] >= _DOMINANT * counts.sum() and rng.random() < (0.3 if best in (0, 1, 3) else 1):
                return crop, best + 20

    def draw(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        crops, classes = zip(*(one(rng) for _ in range(count)), strict=True)
        return _normalised(list(crops), augment, rng), torch.tensor(classes)

    return draw


def _crop(photo: Image.Image, share: float, rng: np.random.Generator) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Cut a square of ``share`` of the shorter side at a random place; return it at 64 x 64, and its box."""
    side = int(min(photo.size) * share)
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    box = (left, top, left + side, top + side)
    return photo.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=box), box


def _normalised(crops: list[Image.Image], augment: bool, rng: np.random.Generator) -> Tensor:
    """Stack to (n, 3, 64, 64), normalised; when augmenting, jitter brightness and contrast per channel."""
    pixels = torch.from_numpy(np.stack([np.asarray(crop, np.float32) for crop in crops])).permute(0, 3, 1, 2)
    if augment:
        gain, shift = (torch.from_numpy(rng.uniform(-0.2, 0.2, (len(crops), 3, 1, 1)).astype(np.float32)) for _ in 'ab')
        pixels = (pixels * (1 + gain) + 128 * shift).clamp(0, 255)
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
