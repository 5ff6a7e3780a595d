"""What a rule says about a curve."""

from __future__ import annotations

from dataclasses import dataclass

from mmsls.scoring.curve import BlockId
from mmsls.scoring.subset import lowest_blocks


@dataclass(frozen=True)
class Decision:
    """What a rule says about a curve.

    Attributes:
        kept_depths: How many blocks every stage keeps: the lowest ones, unless `subset` names others.
        thresholds: One threshold per stage in scope `'stage'`, a single one in scope `'model'`; None where the
            reference score is not positive, so there is no threshold and nothing is pruned.
        borderline: Blocks whose score lies close to their threshold (see `Rule.margin`), in order.
        note: Why nothing was pruned, in the model or in some stage; None where every walk found its threshold and
            blocks were removed.
        subset: The blocks that are kept, in order, where they are not the lowest ones of their stages; else empty.
    """

    kept_depths: tuple[int, ...]
    thresholds: tuple[float | None, ...]
    borderline: tuple[BlockId, ...]
    note: str | None
    subset: tuple[BlockId, ...] = ()

    @property
    def kept_blocks(self) -> tuple[BlockId, ...]:
        """Every `(stage, block)` that is kept, bottom first.

        Example:
            >>> Decision((2, 1), (0.1,), (), None).kept_blocks
            ((0, 0), (0, 1), (1, 0))
        """
        return self.subset or lowest_blocks(self.kept_depths)

    @property
    def unseparated(self) -> bool:
        """Whether some reference block does not separate the classes at all, so that there was no threshold."""
        return None in self.thresholds
