"""Run a backbone again with some of its blocks replaced by what they gave before, or by something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from mmsls.scoring import BlockId

Pass = dict[BlockId, Tensor]
"""Every block's raw output in one forward pass of the backbone, (B, K + L, C), extra tokens first."""
Substitute = Callable[[int, BlockId], Callable[[Tensor], Tensor] | None]
"""Given the number of the pass and a block: what stands in for it, or None where the block itself runs."""


@contextmanager
def recording(blocks: Callable[[], Iterator[tuple[BlockId, nn.Module]]]) -> Iterator[list[Pass]]:
    """Collect every block's output in the forward passes inside the context.

    The list grows with each pass: clear it when done.

    Args:
        blocks: A backbone's `iter_blocks`.
    """
    passes: list[Pass] = []

    def hook_of(block_id: BlockId) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            # Within one forward no block comes twice: the first one to return opens the next pass.
            if not passes or block_id in passes[-1]:
                passes.append({})
            passes[-1][block_id] = output.detach()

        return hook

    handles = [block.register_forward_hook(hook_of(block_id)) for block_id, block in blocks()]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def substituted(blocks: Callable[[], Iterator[tuple[BlockId, nn.Module]]], substitute: Substitute) -> Iterator[None]:
    """Let others stand in for a backbone's blocks inside the context.

    Args:
        blocks: A backbone's `iter_blocks`.
        substitute: What stands in for a block in the n-th pass inside the context, counted from 0.
    """
    found = list(blocks())
    calls = dict.fromkeys([block_id for block_id, _ in found], 0)
    changed: list[nn.Module] = []

    def stand_in(block_id: BlockId, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            other = substitute(calls[block_id], block_id)
            calls[block_id] += 1
            return own(x, *args, **kwargs) if other is None else other(x)

        return forward

    try:
        for block_id, block in found:
            block.__dict__['forward'] = stand_in(block_id, block.forward)
            changed.append(block)
        yield
    finally:
        for block in changed:
            del block.__dict__['forward']


class _Enough(Exception):
    """Ends a forward pass whose wanted part has run."""


def run_up_to(model: Any, module: nn.Module, batch: Any) -> None:
    """Run a model's `test_step` on a copy of a batch, and end it behind a module: no head runs for nothing.

    A model that sees an image in several crops (`test_cfg.mode='slide'`) runs to its end, since every crop is a pass.
    """
    slides = (getattr(model, 'test_cfg', None) or {}).get('mode') == 'slide'

    def end(*_: Any) -> None:
        raise _Enough

    handle = None if slides else module.register_forward_hook(end)
    try:
        model.test_step(deepcopy(batch))
    except _Enough:
        pass  # what was wanted has run; nobody else raises it
    finally:
        if handle is not None:
            handle.remove()
