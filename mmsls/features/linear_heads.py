"""The last layer of a head where that is linear, and what it is given for labelled images and pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mmsls.features.data_view import DataView
from mmsls.features.image_frame import ImageFrame
from mmsls.features.image_sampler import label_of
from mmsls.features.records import Record, RepeatedRecord
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.semantic_map import read_semantic_map
from mmsls.features.sliding_window import Window, input_shape


class HeadSamples(NamedTuple):
    """What a last layer is given in a batch, labelled.

    Attributes:
        features: (n, d).
        labels: (n,), class numbers.
        images: (n,), which image of the batch each is of.
        weights: (n,), those of an image sum to its number of samples.
    """

    features: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    weights: np.ndarray


class LinearHead(Protocol):
    """A head whose last layer is linear.

    Attributes:
        name: What it is called in messages.
        layer: A `Linear`, or a `Conv2d` with kernels of 1, with one output per class.
        placed: Whether places in the image matter.
    """

    name: str
    layer: nn.Linear | nn.Conv2d
    placed: bool

    def samples(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any], records: Sequence[Record], view: DataView
    ) -> HeadSamples:
        """Return the labelled samples of one batch.

        Args:
            inputs: What the layer was given, call by call.
            data_samples: What the model returned, ground truth included.
            records: Which records they are; repeated ones are left out.
            view: The data set.

        Raises:
            ValueError: If ground truth is absent, or the layer is not what the head ends with.
        """


def linear_head(model: nn.Module, share: int = 200, seed: int = 0) -> LinearHead:
    """Find the linear last layer of a model's head.

    Args:
        model: A classifier of MMPretrain or a segmentor of MMSegmentation.
        share: Most pixels of an image that are drawn for a segmentor.
        seed: Of that draw.

    Raises:
        ValueError: Naming the head, if it has none.
    """
    decode_head, head = getattr(model, 'decode_head', None), getattr(model, 'head', None)
    if isinstance(decode_head, nn.ModuleList):
        decode_head = decode_head[-1]  # the last one of a cascade predicts
    if decode_head is not None:
        return PixelHead(decode_head, RegionSampler.settings_of(model), share, seed)
    if head is not None:
        return ImageHead(head)
    found = next((part for name in ('bbox_head', 'roi_head') if (part := getattr(model, name, None))), model)
    raise refused(getattr(found, 'bbox_head', found), 'its classes are not read off labelled features by one layer')


def refused(head: nn.Module, reason: str) -> ValueError:
    """Return the error that names a head whose last layer cannot be fitted."""
    return ValueError(
        f'refit: {type(head).__name__}: {reason}; what can be fitted anew is the last Linear of a classifier and the '
        'conv_seg of a segmentor, so leave the refitting (refit_head) out'
    )


class ImageHead:
    """A classifier's head that ends in a `Linear`: one sample per image.

    Raises:
        ValueError: If there is no such layer, several, or one image may have several classes.
    """

    placed = False

    def __init__(self, head: Any) -> None:
        self.head, self.name = head, type(head).__name__
        classes = getattr(head, 'num_classes', None)
        layers = [part for part in head.modules() if isinstance(part, nn.Linear) and part.out_features == classes]
        if len(layers) != 1:
            raise refused(head, f'it has {len(layers)} linear layers of its {classes} classes, not one')
        if hasattr(head, 'thr'):
            raise refused(head, 'an image may have several classes')
        self.layer = with_bias(head, layers[0])

    def samples(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[Any],
        records: Sequence[Record],
        view: DataView,  # noqa: ARG002
    ) -> HeadSamples:
        """Return the labelled samples of one batch, see `LinearHead`."""
        if len(inputs) != 1 or inputs[0].shape != (len(data_samples), self.layer.in_features):
            raise refused(
                self.head, f'its last layer is given {[tuple(x.shape) for x in inputs]}, no feature per image'
            )
        new = new_rows(records)
        labels = [label_of(data_samples[row], records[row]) for row in new]
        return HeadSamples(
            inputs[0][new].float().cpu().numpy(), np.array(labels, int), np.arange(len(new)), np.ones(len(new))
        )


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


def new_rows(records: Sequence[Record]) -> list[int]:
    """Return which images of a batch are not there for a second time."""
    return [row for row, record in enumerate(records) if not isinstance(record, RepeatedRecord)]


def with_bias(head: nn.Module, layer: Any) -> Any:
    """Return a layer, or raise a ValueError where it has no bias."""
    if layer.bias is None:
        raise refused(head, 'its last layer has no bias')
    return layer


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


@contextmanager
def given_to(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Record what a layer is given, call by call, in a list that whoever reads it empties."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach()))
    try:
        yield found
    finally:
        handle.remove()
