"""What became of every labelled thing that a data set yields."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from mmengine.dist import all_gather_object

IGNORED = 'ignored'
OUTSIDE = 'outside the image'
TOO_SMALL = 'too small'
IGNORE_INDEX = 'ignore_index'
REPEATED = 'repeated image'
NO_PLACE = 'no free place for background'
ABOVE = 'above max_samples'


@dataclass
class Counts:
    """How many labelled things were offered, kept and skipped; always offered = kept + skipped.

    Attributes:
        unit: What is counted: instances, regions or images.
        images: Images seen, repeated ones included.
        empty: Images that offered nothing.
        kept: Number that became samples.
        skipped: Reason -> number.

    Example:
        >>> counts = Counts('instances', images=2, kept=3, skipped=Counter({'ignored': 1}))
        >>> str(counts + counts.capped(2))
        'kept 5 of 8 instances in 4 images; skipped: 1 above max_samples, 2 ignored'
    """

    unit: str = 'samples'
    images: int = 0
    empty: int = 0
    kept: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def offered(self) -> int:
        """Everything that was there."""
        return self.kept + sum(self.skipped.values())

    def add(self, kept: int, skipped: Counter[str]) -> None:
        """Count one image."""
        self.images += 1
        self.kept += kept
        self.skipped.update({reason: number for reason, number in skipped.items() if number})
        self.empty += not kept and not any(skipped.values())

    def capped(self, kept: int) -> Counts:
        """Return what is left after a bank that keeps `kept` in all."""
        surplus = Counter({ABOVE: self.kept - kept} if self.kept > kept else {})
        return Counts(self.unit, self.images, self.empty, min(kept, self.kept), self.skipped + surplus)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for the index."""
        return {
            'unit': self.unit,
            'images': self.images,
            'empty_images': self.empty,
            'offered': self.offered,
            'kept': self.kept,
            'skipped': dict(sorted(self.skipped.items())),
        }

    def __add__(self, other: Counts) -> Counts:
        """Add the counts of another process."""
        skipped = self.skipped + other.skipped
        return Counts(self.unit, self.images + other.images, self.empty + other.empty, self.kept + other.kept, skipped)

    def __str__(self) -> str:
        """One line for the log."""
        reasons = ', '.join(f'{number} {reason}' for reason, number in sorted(self.skipped.items()))
        empty = f' ({self.empty} with none)' if self.empty else ''
        text = f'kept {self.kept} of {self.offered} {self.unit} in {self.images} images{empty}'
        return f'{text}; skipped: {reasons}' if reasons else text


def gathered_counts(sampler: Any, kept: int) -> Any:
    """Return what a sampler counted over all processes, after a bank that keeps `kept` in all. Call it on every rank.

    Returns:
        `Counts`; None where the sampler counts nothing.
    """
    counts = [part for part in all_gather_object(getattr(sampler, 'counts', None)) if part is not None]
    return reduce(add, counts).capped(kept) if counts else None
