"""Keys of samples: which image, which instance, and in which order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

Key = tuple[str, int]
"""Image path (normalised) and the instance's number in that image's ground truth."""

NAMES = ('img_path', 'img_id')
"""What names an image in a data set's records and in a sample's meta information: its path, else its id."""

# Parts of a path that tell images of one data set apart, wherever the data set lies: an absolute data root must not
# change which samples are drawn. Three cover <data set>/<split>/<file> and <sequence>/<folder>/<file>.
_TAIL_PARTS = 3


def normalise_path(path: str) -> str:
    """Spell a path in one way, so that the same image has the same key on every rank; URLs stay as they are.

    Example:
        >>> normalise_path('data/coco//val2017/../val2017/000139.jpg')
        'data/coco/val2017/000139.jpg'
        >>> normalise_path('s3://bucket/val2017/000139.jpg')
        's3://bucket/val2017/000139.jpg'
    """
    path = os.fspath(path)
    return path if '://' in path else os.path.normpath(path).replace(os.sep, '/')


def portable_key(key: Key) -> str:
    """Name a key by the end of its path, which is the same on machines that keep the data elsewhere.

    Example:
        >>> portable_key(('/home/me/coco/val2017/000139.jpg', 4))
        'coco/val2017/000139.jpg#4'
    """
    path, number = key
    return f'{"/".join(path.split("/")[-_TAIL_PARTS:])}#{number}'


def order_hash(keys: Iterable[Key]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 over keys in their order; t-SNE depends on the order of its rows.

    Example:
        >>> order_hash([('a/1.jpg', 0), ('a/2.jpg', 0)]) == order_hash([('a/2.jpg', 0), ('a/1.jpg', 0)])
        False
    """
    text = '\n'.join(portable_key(key) for key in keys)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dataset_order(dataset: Any) -> dict[str, int]:
    """Number the images of an MMEngine data set in its order, without loading one.

    Wrappers that only repeat images (`RepeatDataset`, `ClassBalancedDataset`) are looked through; the parts of a
    `ConcatDataset` follow each other; an image that comes again keeps its first place.

    Args:
        dataset: A `BaseDataset` or a wrapper around one.

    Returns:
        Normalised image path -> position, counted from 0.

    Raises:
        ValueError: If the data set cannot list its images, or an image has no path.
    """
    order: dict[str, int] = {}
    for path in _image_paths(dataset):
        order.setdefault(normalise_path(path), len(order))
    return order


def _image_paths(dataset: Any) -> Iterable[str]:
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _image_paths(part)
    elif hasattr(dataset, 'dataset'):
        yield from _image_paths(dataset.dataset)
    elif hasattr(dataset, 'get_data_info'):
        for index in range(len(dataset)):
            yield _image_path(dataset, index)
    else:
        raise ValueError(
            f'dataset={type(dataset).__name__} has no get_data_info(), so the order of its images is unknown: '
            'derive it from mmengine.dataset.BaseDataset'
        )


def _image_path(dataset: Any, index: int) -> str:
    info = dataset.get_data_info(index)
    for name in NAMES:
        if info.get(name) is not None:
            return str(info[name])
    raise ValueError(
        f"dataset={type(dataset).__name__} gives no 'img_path' for image {index}, so samples cannot be put "
        "in its order: let load_data_list() set 'img_path'"
    )
