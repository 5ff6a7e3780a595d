"""What a model costs: parameters, multiply-accumulates, latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmsls.checkpoint import base_keys


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters.

    Attributes:
        total: All that the model holds.
        trained: Those with a gradient.
        stored: What a task stores: all but the frozen base, buffers not counted.
    """

    total: int
    trained: int
    stored: int


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count a model's parameters.

    Example:
        >>> count_parameters(torch.nn.Linear(3, 2))
        ParameterCounts(total=8, trained=8, stored=8)
    """
    base = base_keys(model)
    named = list(model.named_parameters())
    return ParameterCounts(
        total=sum(p.numel() for _, p in named),
        trained=sum(p.numel() for _, p in named if p.requires_grad),
        stored=sum(p.numel() for name, p in named if name not in base),
    )


def summary_line(counts: ParameterCounts) -> str:
    """Say how many parameters are trained, in PEFT's words.

    Example:
        >>> summary_line(ParameterCounts(total=86_000_000, trained=327_552, stored=327_552))
        'trainable params: 327,552 || all params: 86,000,000 || trainable%: 0.3809'
    """
    share = 100 * counts.trained / counts.total
    return f'trainable params: {counts.trained:,} || all params: {counts.total:,} || trainable%: {share:.4f}'


@torch.no_grad()
def count_macs(forward: Callable[[], object]) -> int:
    """Count the multiply-accumulates of one call: matrix products, convolutions, attention.

    The hosts' papers call them FLOPs.
    """
    with FlopCounterMode(display=False) as counter, spelled_out_attention():
        forward()
    return counter.get_total_flops() // 2


def spelled_out_attention() -> AbstractContextManager:
    """Return a context in which attention is matrix products, which the counter knows on every device."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # torch < 2.3
        return torch.backends.cuda.sdp_kernel(enable_flash=False, enable_math=True, enable_mem_efficient=False)
    return sdpa_kernel(SDPBackend.MATH)


def training_bytes(model: nn.Module, forward: Callable[[], object]) -> int:
    """Return the bytes that training adds to a model's own.

    They are what autograd keeps of one forward pass, gradients, and AdamW's two moments.

    Args:
        model: The model, in train mode.
        forward: One forward pass through it.

    Returns:
        Bytes; each storage counts once, parameters do not, gradients and moments are float32.

    Example:
        >>> layer = torch.nn.Linear(3, 2)
        >>> training_bytes(layer, lambda: layer(torch.ones(5, 3)))  # 8 parameters x 12 bytes, the input of 5 x 3 x 4
        156
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = forward()  # alive until everything is counted, so that no address is used twice
    activations = sum(kept.values())
    del outputs
    return activations + 12 * count_parameters(model).trained


def latencies(forwards: Mapping[str, Callable[[], object]], repeats: int = 10, warmup: int = 2) -> dict[str, float]:
    """Time several calls in turns, so that a busy moment of the machine hits all of them.

    Args:
        forwards: Name to call.
        repeats: Timed rounds, at least 1.
        warmup: Untimed rounds.

    Returns:
        Name to median seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in forwards}
    for turn in range(warmup + repeats):
        for name, forward in forwards.items():
            seconds = timed(forward)
            if turn >= warmup:
                times[name].append(seconds)
    return {name: median(values) for name, values in times.items()}


def timed(forward: Callable[[], object]) -> float:
    """Return the seconds of one call, the device's queue emptied before and after; gradients are the caller's."""
    synchronise()
    start = time.perf_counter()
    forward()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    """Wait for the GPU where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
