"""Places without an object, drawn as large as the objects: what a single class is told apart from."""

from __future__ import annotations

import hashlib
import random
from itertools import product

import numpy as np

from mmsls.features.keys import Key, key_text
from mmsls.features.token_grid import Box

_TRIES = 64
# Above so many candidates an image is as good as full.
_MOST = 20000


def free_box(size: tuple[float, float], taken: np.ndarray, area: Box, key: Key) -> np.ndarray | None:
    """Return a box that overlaps none of those taken, drawn by a hash of the key alone; None where there is no place.

    Args:
        size: (width, height) of the box.
        taken: (M, 4) as x1, y1, x2, y2, whatever is an object or may be one.
        area: Where it may lie.
        key: The same key draws the same box in every process.

    Returns:
        (4,) as x1, y1, x2, y2.
    """
    x1, y1, x2, y2 = area
    room_x, room_y = x2 - x1 - size[0], y2 - y1 - size[1]
    if min(room_x, room_y) < 0:
        return None
    draw = random.Random(int.from_bytes(hashlib.blake2b(key_text(key).encode(), digest_size=8).digest(), 'big'))
    tries = np.array([(x1 + room_x * draw.random(), y1 + room_y * draw.random()) for _ in range(_TRIES)])
    box = _first_free(tries, size, taken)
    if box is not None:
        return box
    # If there is a place at all, then also one that touches a border or a box on either axis.
    columns = _touching(x1, x1 + room_x, taken[:, 0], taken[:, 2], size[0])
    rows = _touching(y1, y1 + room_y, taken[:, 1], taken[:, 3], size[1])
    if len(columns) * len(rows) > _MOST:
        return None
    corners = list(product(columns, rows))
    draw.shuffle(corners)
    return _first_free(np.array(corners), size, taken)


def _touching(low: float, high: float, starts: np.ndarray, ends: np.ndarray, length: float) -> list[float]:
    places = np.concatenate([[low, high], ends, starts - length])
    return np.unique(places[(places >= low) & (places <= high)]).tolist()


def _first_free(corners: np.ndarray, size: tuple[float, float], taken: np.ndarray) -> np.ndarray | None:
    boxes = np.concatenate([corners, corners + size], axis=1)
    hit = (boxes[:, None, :2] < taken[None, :, 2:]).all(2) & (boxes[:, None, 2:] > taken[None, :, :2]).all(2)
    free = np.flatnonzero(~hit.any(axis=1))
    return boxes[free[0]] if len(free) else None
