"""A folder of images, predicted part by part: what several processes and machines share without talking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mmsls.deploy.predictor import TaskPredictor
from mmsls.files.writing import whole_folder

ENDINGS = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
PREDICTIONS, MAPS = 'predictions.jsonl', 'maps'


def images_in(folder: str | Path, part: tuple[int, int] = (1, 1)) -> list[Path]:
    """Return the images in a folder and the folders below it, by name: all, or every n-th.

    Args:
        folder: Where they lie.
        part: (k, n) takes the k-th part of n, k from 1.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no image, or no part has that number.
    """
    folder, (number, count) = Path(folder).expanduser(), part
    if not folder.is_dir():
        raise FileNotFoundError(f'images: no folder at {str(folder)!r}')
    if not 1 <= number <= count:
        raise ValueError(f'part {number}/{count}: parts are numbered from 1 to {count}')
    found = sorted(path for path in folder.rglob('*') if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise ValueError(f'images: {str(folder)!r} holds no file that ends in {", ".join(ENDINGS)}')
    return found[number - 1 :: count]


def predict_folder(
    predictor: TaskPredictor,
    folder: str | Path,
    out: str | Path,
    part: tuple[int, int] = (1, 1),
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Predict the images of a folder into a new one, which is there whole or not at all.

    Args:
        predictor: The task.
        folder: Where the images lie.
        out: The new folder: `predictions.jsonl`, a line for each image, its `path` seen from `folder`; and the maps of
            a segmentor in `maps/`, named as the images are.
        part: As for `images_in`.
        batch_size: Images that are read and predicted together.
        on_batch: Called with (images done, images in all).

    Returns:
        How many `images` there were, and how many were `unread`.

    Raises:
        FileExistsError: If there is something at `out`.
        FileNotFoundError: If there is no folder of images.
        ValueError: If it holds none, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size is {batch_size}; it must be at least 1')
    folder, paths, unread = Path(folder).expanduser(), images_in(folder, part), 0
    with whole_folder(Path(out).expanduser()) as partial, (partial / PREDICTIONS).open('w', encoding='utf-8') as file:
        for start in range(0, len(paths), batch_size):
            some = paths[start : start + batch_size]
            for path, row in zip(some, predictor.rows([str(path) for path in some]), strict=True):
                name = path.relative_to(folder)
                if 'map' in row:
                    row['map'] = leave_map(row['map'], partial, name)
                unread += row['error'] is not None
                file.write(json.dumps({'path': name.as_posix(), **row}) + '\n')
            if on_batch is not None:
                on_batch(start + len(some), len(paths))
    return {'images': len(paths), 'unread': unread}


def leave_map(png: bytes, out: Path, image: Path) -> str:
    """Write a map, and return where it lies in the folder."""
    place = Path(MAPS) / image.parent / f'{image.name}.png'
    (out / place).parent.mkdir(parents=True, exist_ok=True)
    (out / place).write_bytes(png)
    return place.as_posix()
