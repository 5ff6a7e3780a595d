"""First-order Taylor: what the loss would change by if a block's weights were gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from mmsls.criteria.base import CRITERIA, Evidence
from mmsls.scoring import BlockId


@CRITERIA.register_module()
class Taylor:
    """Sum of |gradient x weight| over a block's parameters.

    It is the first-order term of Molchanov et al., CVPR 2019, who square it per weight.

    Args:
        batches: Most batches whose gradients are added up.
    """

    kind = 'importance'
    unit = 'loss'

    def __init__(self, batches: int = 8) -> None:
        self.batches = batches

    def __call__(self, evidence: Evidence) -> dict[BlockId, float]:
        """Return a number for every block."""
        blocks = dict(evidence.backbone.iter_blocks())
        with gradients_of(evidence, self.batches):
            return {
                block_id: sum((p.grad * p).abs().sum().item() for p in block.parameters() if p.grad is not None)
                for block_id, block in blocks.items()
            }


@contextmanager
def gradients_of(evidence: Evidence, batches: int) -> Iterator[None]:
    """Give every parameter, frozen ones too, the gradient of the loss over some batches; take it away afterwards.

    Args:
        evidence: The model and its batches.
        batches: How many at most.
    """
    model = evidence.model
    # By name: pruning puts other parameters in their places.
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    model.requires_grad_(True)
    model.zero_grad()
    try:
        for batch in islice(evidence.batches, batches):
            losses = model.loss(**model.data_preprocessor(batch, False))
            model.parse_losses(losses)[0].backward()
        yield
    finally:
        model.zero_grad()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
