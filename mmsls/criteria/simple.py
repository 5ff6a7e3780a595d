"""Criteria that look at no data: weight magnitude, and chance."""

from __future__ import annotations

import numpy as np

from mmsls.criteria.base import CRITERIA, Evidence
from mmsls.scoring import BlockId


@CRITERIA.register_module()
class Magnitude:
    """Mean absolute weight of a block's matrices and kernels, adapters included (Li et al., ICLR 2017, of filters)."""

    kind = 'importance'
    unit = 'mean absolute weight'
    needs = 'model'

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        found = {}
        for block_id, block in evidence.backbone.iter_blocks():
            weights = [p.detach().abs() for p in block.parameters() if p.dim() > 1]
            found[block_id] = sum(w.sum().item() for w in weights) / sum(w.numel() for w in weights)
        return found


@CRITERIA.register_module()
class Random:
    """Chance, by the seed: what any criterion should beat."""

    kind = 'importance'
    unit = 'chance'
    needs = 'model'

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        blocks = [block_id for block_id, _ in evidence.backbone.iter_blocks()]
        return dict(zip(blocks, np.random.default_rng(evidence.seed).random(len(blocks)).tolist(), strict=True))
