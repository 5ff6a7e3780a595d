"""Is a pruned backbone as much faster as its MACs say? Swin-T at several kept depths, in turns in one process."""

from __future__ import annotations

import argparse
from functools import partial

import torch
from common import show

from mmsls.cost.complexity import count_macs, latencies
from mmsls.integrations.mmdet import PrunedSwinTransformer

DEPTHS = ((2, 2, 6, 2), (2, 2, 4, 1), (2, 2, 2, 1), (1, 1, 3, 1), (2, 2, 1, 0))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--size', type=int, nargs=2, default=(480, 640), metavar=('HEIGHT', 'WIDTH'))
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    image = torch.randn(1, 3, *args.size, device=device)
    models = {
        depths: PrunedSwinTransformer(kept_depths=depths).requires_grad_(False).eval().to(device) for depths in DEPTHS
    }
    forwards = {str(depths): partial(model, image) for depths, model in models.items()}
    macs = {name: count_macs(forward) for name, forward in forwards.items()}
    seconds = latencies(forwards, args.repeats)
    full = str(DEPTHS[0])
    rows = []
    for depths, model in models.items():
        name = str(depths)
        work, time = macs[name] / macs[full], seconds[name] / seconds[full]
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        rows.append(
            (name, f'{parameters:.1f}', f'{macs[name] / 1e9:.2f}', f'{work:.2f}', f'{time:.2f}', f'{time - work:+.2f}')
        )
    header = ('kept depths', 'params M', 'GMACs', 'MACs / full', 'time / full', 'excess (bar: +0.05)')
    show(f'Swin-T backbone, eval, 1x{args.size[0]}x{args.size[1]}', header, rows)


if __name__ == '__main__':
    main()
