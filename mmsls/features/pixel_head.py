"""The last layer of a segmentor: what it is given for the cells of its map, labelled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmsls.features.data_view import DataView
from mmsls.features.image_frame import ImageFrame
from mmsls.features.last_layer import HeadSamples, given_to, new_rows, refused, with_bias
from mmsls.features.records import Record
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.semantic_map import read_semantic_map
from mmsls.features.sliding_window import Window, input_shape


class PixelHead:
    """A segmentor's head that ends in `conv_seg`: the cells of its map are samples, a bounded number of each image.

    The classes of an image are drawn evenly, as far as they go, and weigh as the square root of their area: between all
    pixels alike, in which large classes drown small ones, and all classes alike, which a metric of areas punishes.

    Args:
        head: The head.
        settings: As `RegionSampler.settings_of` reads them from the model.
        share: Most cells that are drawn of an image.
        seed: Of the draw.

    Raises:
        ValueError: If there is no such layer, or it has one output.
    """

    placed = True

    def __init__(self, head: Any, settings: dict[str, Any], share: int = 200, seed: int = 0) -> None:
        self.head, self.name = head, type(head).__name__
        layer = getattr(head, 'conv_seg', None)
        if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or layer.groups != 1:
            raise refused(head, 'it has no conv_seg with kernels of 1')
        if layer.out_channels < 2:
            raise refused(head, 'its conv_seg has one output, which tells foreground by a threshold')
        self.layer = with_bias(head, layer)
        self.slide = RegionSampler(**settings).slide
        self.known = settings.get('num_classes'), settings.get('ignore_index')
        self.share, self.drawn = share, np.random.default_rng(seed)

    def watching(self) -> AbstractContextManager[list[Tensor]]:
        """Record what the layer is given, see `LinearHead`."""
        return given_to(self.layer)

    def samples(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any], records: Sequence[Record], view: DataView
    ) -> HeadSamples:
        """Return the labelled samples of one batch, see `LinearHead`."""
        shape = input_shape(data_samples[0].metainfo)
        windows = [(0, 0, shape[1], shape[0])] if self.slide is None else self.slide.windows(shape)
        if len(inputs) != len(windows):
            raise refused(self.head, f'its conv_seg ran {len(inputs)} times for {len(windows)} crops')
        found = [
            self._of_image(row, inputs, windows, data_samples[row], records[row], view) for row in new_rows(records)
        ]
        width = self.layer.in_channels
        nothing = HeadSamples(np.zeros((0, width)), np.zeros(0, int), np.zeros(0, int), np.zeros(0))
        return HeadSamples(*(np.concatenate(part) for part in zip(nothing, *found, strict=True)))

    def _of_image(
        self, row: int, inputs: Sequence[Tensor], windows: Sequence[Window], item: Any, record: Record, view: DataView
    ) -> HeadSamples:
        truth, frame = read_semantic_map(item, *self.known, record), view.frame(item.metainfo, record)
        labels = np.concatenate(
            [
                labels_of_cells(truth, frame, tuple(x.shape[-2:]), window).ravel()
                for x, window in zip(inputs, windows, strict=True)
            ]
        )
        labels[labels == self.known[1]] = -1
        cells, weights = balanced(labels, self.share, self.drawn)
        tokens = torch.cat([x[row].flatten(1) for x in inputs], dim=1).T
        features = tokens[torch.from_numpy(cells).to(tokens.device)].float().cpu().numpy()
        return HeadSamples(features, labels[cells], np.full(len(cells), row), weights)


def labels_of_cells(truth: np.ndarray, frame: ImageFrame, grid: tuple[int, ...], window: Window) -> np.ndarray:
    """Return the class at the centre of every cell of a map; -1 where that lies beside the image.

    Args:
        truth: (h, w) class of every pixel of the original image.
        frame: Where the image lies in the network's input.
        grid: (H, W) of the map.
        window: The part of the input that the map covers.

    Returns:
        (H, W).

    Example:
        >>> frame = ImageFrame((2.0, 2.0), (1, 2), (2, 4))
        >>> labels_of_cells(np.array([[3, 5]]), frame, (1, 3), (0, 0, 6, 2))
        array([[ 3,  5, -1]])
    """
    x1, y1, x2, y2 = window
    across, down = ((np.arange(n) + 0.5) * (to - of) / n + of for n, of, to in ((grid[1], x1, x2), (grid[0], y1, y2)))
    left, top, right, bottom = frame.bounds
    inside = ((down >= top) & (down < bottom))[:, None] & ((across >= left) & (across < right))
    rows, columns = (
        np.clip(np.floor((place - offset) / scale).astype(int), 0, length - 1)
        for place, offset, scale, length in zip(
            (down, across), frame.offset[::-1], frame.scale[::-1], truth.shape, strict=True
        )
    )
    return np.where(inside, truth[rows[:, None], columns].astype(int), -1)


def balanced(labels: np.ndarray, share: int, drawn: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples of every class alike, and weigh each class by the square root of its number.

    Args:
        labels: (n,); below 0: none.
        share: About how many are drawn; at least one of each class.
        drawn: What draws.

    Returns:
        Which ones, in random order, and their weights, 1 on average.

    Example:
        >>> which, weights = balanced(np.array([0] * 9 + [1] * 4 + [-1]), 8, np.random.default_rng(0))
        >>> sorted((which // 9).tolist()), float(round(weights[which < 9].sum() / weights[which >= 9].sum(), 6))
        ([0, 0, 0, 0, 1, 1, 1, 1], 1.5)
    """
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    if not len(classes):
        return np.zeros(0, int), np.zeros(0)
    most = max(1, share // len(classes))
    parts = [drawn.permutation(np.flatnonzero(labels == one))[:most] for one in classes]
    weights = np.concatenate(
        [np.full(len(part), np.sqrt(count) / len(part)) for part, count in zip(parts, counts, strict=True)]
    )
    order = drawn.permutation(len(weights))
    return np.concatenate(parts)[order], (weights * len(weights) / weights.sum())[order]
