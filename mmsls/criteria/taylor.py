"""First-order Taylor: what the loss would change by if a block's weights were gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch

from mmsls.criteria.base import CRITERIA, Evidence, check_count
from mmsls.scoring import BlockId


@CRITERIA.register_module()
class Taylor:
    """Sum of |gradient x weight| over a block's parameters.

    It is the first-order term of Molchanov et al., CVPR 2019, who square it per weight. The model stays in eval mode:
    nothing is dropped, and norms keep their statistics.

    Args:
        batches: Most training batches whose gradients are added up, at least 1.
    """

    kind = 'importance'
    unit = 'loss'
    needs = 'loss'

    def __init__(self, batches: int = 8) -> None:
        self.batches = check_count('Taylor.batches', batches, 1)

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

    What gradients there are (of a training that gathers them over several iterations) are put back then.

    Args:
        evidence: The model and its batches.
        batches: How many at most.
    """
    model = evidence.model
    # By name: pruning puts other parameters in their places.
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    held = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.requires_grad_(True)
    model.zero_grad()
    try:
        seen = False
        with torch.enable_grad():
            for batch in islice(evidence.batches, batches):
                # As in training: only then do the hosts pad masks and maps as they pad images.
                losses = model(**model.data_preprocessor(batch, True), mode='loss')
                model.parse_losses(losses)[0].backward()
                seen = True
        if not seen:
            raise ValueError('criterion: there are no labelled batches to take a loss of; score it by a config')
        yield
    finally:
        model.zero_grad()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
            before = held.get(name)
            parameter.grad = before if before is not None and before.shape == parameter.shape else None
