"""Record the tokens of every block during forward passes that happen anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from mmsls.backbones.tokens import BlockTokens
from mmsls.scoring import BlockId

BlockPass = dict[BlockId, BlockTokens]


class RecordableBackbone(Protocol):
    """What the recorder needs of a backbone; every `mmsls.backbones` backbone has it."""

    def record_blocks(self, callback: Callable[[BlockId, BlockTokens], None]) -> Sequence[Any]:
        """Call `callback` after every block's forward, on tokens as they are; return handles with a `remove()`."""

    def downsample_tokens(self, stage: int, tokens: BlockTokens) -> BlockTokens:
        """Apply what follows a stage (patch merging) to tokens of one of its blocks."""


class FeatureRecorder:
    """Collect every block's tokens from the forward passes of a backbone, with no pass of its own.

    Use it as a context manager, or call `attach()` and `detach()`. Call `take()` after every iteration: until then the
    tokens of all blocks stay in memory.

    Args:
        backbone: The backbone to listen to.
        after_merging: Record what each block's output becomes in the stage's patch merging, where there is one.
    """

    def __init__(self, backbone: RecordableBackbone, after_merging: bool = False) -> None:
        self.backbone, self.after_merging = backbone, after_merging
        self._handles: list[Any] = []
        self._passes: list[BlockPass] = []

    @property
    def attached(self) -> bool:
        """Whether the recorder listens now."""
        return bool(self._handles)

    def attach(self) -> FeatureRecorder:
        """Start listening; does nothing when the recorder already listens."""
        if not self.attached:
            self._handles = list(self.backbone.record_blocks(self._record))
        return self

    def detach(self) -> None:
        """Stop listening and drop what was recorded and not taken."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._passes = []

    def take(self) -> list[BlockPass]:
        """Return one dict of blocks per forward of the backbone since the last take, and forget them.

        A detector calls its backbone once per batch; sliding-window inference and test-time augmentation several times.
        """
        passes, self._passes = self._passes, []
        return passes

    def __enter__(self) -> FeatureRecorder:
        return self.attach()

    def __exit__(self, *exc_info: object) -> None:
        self.detach()

    def _record(self, block: BlockId, tokens: BlockTokens) -> None:
        tokens = tokens.detach()
        if self.after_merging:
            with torch.no_grad():
                tokens = self.backbone.downsample_tokens(block[0], tokens)
        # Within one forward no block comes twice: the first one to return opens the next pass.
        if not self._passes or block in self._passes[-1]:
            self._passes.append({})
        self._passes[-1][block] = tokens
