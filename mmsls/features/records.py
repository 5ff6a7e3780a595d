"""Which record of which data set each image of a batch is."""

from __future__ import annotations

from typing import Any, NamedTuple


class Record(NamedTuple):
    """Where an image comes from.

    Attributes:
        dataset: Number of the innermost data set.
        number: Number of the record in it.
    """

    dataset: int
    number: int


class RecordWalk:
    """Follow the order in which a data loader yields the records of its data set.

    Args:
        dataloader: The loader, not begun.
    """

    def __init__(self, dataloader: Any) -> None:
        self._batches = list(dataloader.batch_sampler)

    def of_batch(self, batch_idx: int, count: int) -> list[Record]:
        """Return the records of a batch of `count` images."""
        return [Record(0, int(number)) for number in self._batches[batch_idx][:count]]
