"""One training step of adapters on a frozen base against full fine-tuning: time and peak memory.

The memory is of activations and gradients.

Swin-T backbone alone, the sum of its outputs as the loss, in turns in one process.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from common import show
from mmdet.models.backbones import SwinTransformer
from torch import nn

from mmsls.cost.complexity import count_parameters, latencies, training_bytes
from mmsls.integrations.mmdet import PrunedSwinTransformer

ADAPTERS = ('Convpass', 'RepAdapter')


def step(model: nn.Module, optimizer: torch.optim.Optimizer, image: torch.Tensor) -> None:
    """Run forward, backward and update."""
    optimizer.zero_grad(set_to_none=True)
    sum(output.mean() for output in model(image)).backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--size', type=int, nargs=2, default=(320, 320), metavar=('HEIGHT', 'WIDTH'))
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    image = torch.randn(1, 3, *args.size, device=device)
    with tempfile.TemporaryDirectory() as folder:
        models = build_models(Path(folder) / 'base.pth')
    rows, steps = [], {}
    for name, model in models.items():
        model.to(device).train()
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)
        steps[name] = partial(step, model, optimizer, image)
    seconds = latencies(steps, args.repeats)
    for name, model in models.items():
        memory = training_bytes(model, partial(model, image))
        rows.append((name, count_parameters(model).trained, memory, seconds[name]))
    full = rows[0]
    body = [
        (
            name,
            f'{trained / 1e6:.2f}',
            f'{memory / 2**20:.0f}',
            f'{memory / full[2]:.2f}',
            f'{time * 1e3:.0f}',
            f'{time / full[3]:.2f}',
        )
        for name, trained, memory, time in rows
    ]
    header = ('method', 'trained M', 'activations + optimizer MiB', 'memory / full', 'step ms', 'time / full')
    show(f'Swin-T backbone, one training step, 1x{args.size[0]}x{args.size[1]}', header, body)


def build_models(base: Path) -> dict[str, nn.Module]:
    """Build full fine-tuning and one model per adapter on the same weights."""
    stock = SwinTransformer()
    stock.init_weights()
    torch.save({'state_dict': {k: v for k, v in stock.state_dict().items() if not k.startswith('norm')}}, base)
    tuned = {name: PrunedSwinTransformer(base_checkpoint=str(base), adapter={'type': name}) for name in ADAPTERS}
    pruned = PrunedSwinTransformer(base_checkpoint=str(base), adapter={'type': 'Convpass'}, kept_depths=(2, 2, 3, 1))
    upper = PrunedSwinTransformer(base_checkpoint=str(base), adapter={'type': 'Convpass', 'stages': (2, 3)})
    less = {'Convpass in stages 2 and 3': upper, 'Convpass, pruned to 2-2-3-1': pruned}
    return {'full fine-tuning (stock)': stock, **tuned, **less}


if __name__ == '__main__':
    main()
