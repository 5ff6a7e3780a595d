"""The last layer of a head where that is linear: what it is asked for, and how it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from mmsls.features.data_view import DataView
from mmsls.features.records import Record, RepeatedRecord


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

    def watching(self) -> AbstractContextManager[list[Any]]:
        """Record what the layer is given, call by call, in a list that whoever reads it empties."""

    def samples(
        self, inputs: Sequence[Any], data_samples: Sequence[Any], records: Sequence[Record], view: DataView
    ) -> HeadSamples:
        """Return the labelled samples of one batch.

        Args:
            inputs: What `watching` recorded of it.
            data_samples: What the model returned, ground truth included.
            records: Which records they are; repeated ones are left out.
            view: The data set.

        Raises:
            ValueError: If ground truth is absent, or the layer is not what the head ends with.
        """


@contextmanager
def given_to(layer: nn.Module, argument: int = 0) -> Iterator[list[Tensor]]:
    """Record one argument of a layer, call by call, in a list that whoever reads it empties."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[argument].detach()))
    try:
        yield found
    finally:
        handle.remove()


def new_rows(records: Sequence[Record]) -> list[int]:
    """Return which images of a batch are not there for a second time."""
    return [row for row, record in enumerate(records) if not isinstance(record, RepeatedRecord)]


def with_bias(head: nn.Module, layer: Any) -> Any:
    """Return a layer, or raise a ValueError where it has no bias."""
    if layer.bias is None:
        raise refused(head, 'its last layer has no bias')
    return layer


def refused(head: nn.Module, reason: str) -> ValueError:
    """Return the error that names a head whose last layer cannot be fitted."""
    return ValueError(
        f'refit: {type(head).__name__}: {reason}; what can be fitted anew is the last Linear of a classifier, the '
        'conv_seg of a segmentor and the fc_cls of a two-stage detector, so leave the refitting (refit_head) out'
    )
