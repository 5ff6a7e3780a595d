"""Who looks on while a backbone runs: compilers, exporters, counters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack


def spelled_out() -> bool:
    """Whether to compute attention in the host's matrix products, which FLOP counters know, not in the fused kernel.

    MMEngine's counter and fvcore's trace the model and pass over the fused kernel; PyTorch's own passes over that of
    the CPU.
    """
    if torch.compiler.is_compiling():
        return False
    counts = any(type(mode).__module__ == 'torch.utils.flop_counter' for mode in _get_current_dispatch_mode_stack())
    return counts or torch.jit.is_tracing()


def looked_on(tokens: Tensor) -> bool:
    """Whether something records what is computed: a compiler, an exporter, a counter; or there are no numbers at all.

    What is recorded must hold for tensors of other values, and for a compiler views are cheaper than a gathering.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing() or bool(_get_current_dispatch_mode_stack())
    return recorded or tokens.is_meta
