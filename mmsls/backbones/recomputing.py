"""MMEngine's activation checkpointing (`activation_checkpointing=[...]`), made to train adapters on a frozen base."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.runner import activation_checkpointing
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmsls.backbones.blocks import AdaptedBlock


def recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a forward pass whose activations are computed again in the backward pass.

    Parameters inside get gradients whatever the input is.
    """
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def mend_checkpointing(model: nn.Module) -> int:
    """Make MMEngine's activation checkpointing non-reentrant in a model's parts, in place; return how many changed.

    MMEngine 0.10 wraps `forward` in torch's reentrant form. That gives no gradient to a part whose tensor inputs need
    none, without a word: adapters on a frozen base, a neck behind it. It also takes no keyword arguments, and a copied
    module would run the original's parameters.
    """
    found = [module for module in model.modules() if _is_mmengines(module.__dict__.get('forward'))]
    for module in found:
        forward = module.__dict__['forward']
        while _is_mmengines(forward):  # a part that the config names twice is wrapped twice
            forward = forward.__wrapped__
        if isinstance(module, AdaptedBlock):
            # It does so itself, and hands the token grid on: the backward pass of a GPU runs in a thread that has noted
            # none.
            del module.forward
            module.with_cp = True
        else:
            # Of a bound method, so that a copied module (EMA) runs its own.
            module.forward = partial(recomputed, forward)
    return len(found)


def _is_mmengines(forward: Any) -> bool:
    """Whether a `forward` is what MMEngine's `turn_on_activation_checkpointing` put in its place."""
    return getattr(forward, '__globals__', None) is activation_checkpointing.__dict__ and hasattr(
        forward, '__wrapped__'
    )
