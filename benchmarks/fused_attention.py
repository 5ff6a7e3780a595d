"""Fused window attention against the host's: Swin-T of MMDetection, same weights, eval mode, in turns, one process."""

from __future__ import annotations

import argparse
from functools import partial

import torch
from common import show
from mmdet.models.backbones import SwinTransformer
from torch.profiler import ProfilerActivity, profile

from mmsls.cost.complexity import latencies
from mmsls.integrations.mmdet import PrunedSwinTransformer

SIZES = ((1, 224, 224), (1, 480, 640), (2, 320, 320), (1, 800, 1216))


@torch.no_grad()
def linear_share(model: torch.nn.Module, image: torch.Tensor) -> float:
    """Return the part of a CPU forward pass that linear layers take, 0 to 1: no attention kernel can touch it."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        model(image)
    events = {event.key: event for event in profiler.key_averages()}
    total = sum(event.self_cpu_time_total for event in events.values())
    return events['aten::linear'].cpu_time_total / total


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--half', action='store_true', help='float16 (GPU)')
    args = parser.parse_args()
    device, dtype = ('cuda' if torch.cuda.is_available() else 'cpu'), (torch.float16 if args.half else torch.float32)
    stock = SwinTransformer().requires_grad_(False)
    stock.init_weights()
    stock.eval()
    fused = PrunedSwinTransformer().requires_grad_(False).eval()
    fused.load_state_dict(stock.state_dict())
    for model in (stock, fused):
        model.to(device, dtype)
    rows = []
    for batch, height, width in SIZES:
        image = torch.randn(batch, 3, height, width, device=device, dtype=dtype)
        difference = max((a - b).abs().max().item() for a, b in zip(stock(image), fused(image), strict=True))
        seconds = latencies({'stock': partial(stock, image), 'fused': partial(fused, image)}, args.repeats)
        # With everything but the linear layers for nothing, no more than this could be gained.
        ceiling = '' if device == 'cuda' else f'{1 / linear_share(stock, image):.2f}'
        times = [f'{seconds[name] * 1e3:.1f}' for name in ('stock', 'fused')]
        rows.append(
            (
                f'{batch}x{height}x{width}',
                *times,
                f'{seconds["stock"] / seconds["fused"]:.2f}',
                ceiling,
                f'{difference:.1e}',
            )
        )
    show('Swin-T backbone, eval', ('input', 'stock ms', 'fused ms', 'stock / fused', 'at most', 'max difference'), rows)


if __name__ == '__main__':
    main()
