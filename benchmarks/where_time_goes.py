"""Where the time of a forward pass goes, by kind of operation: stock, timm's and our backbone, one after the other.

    OMP_NUM_THREADS=1 python benchmarks/where_time_goes.py --size 512 672

Self time of the operators that PyTorch's profiler sees, in the median of some passes. What a faster attention, fewer
copies or another layout could save at most is everything that is not in the row of matrix products: these are the same
in all three. A last table has the Swin's time by stage, for each billion of multiplications: what is left of a model
that is cut from the top is its widest grids.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
from bench import DEVICE, TIMM_SWIN, Turns, at_rest
from common import show
from mmdet.models.backbones import SwinTransformer
from mmseg.models.backbones import VisionTransformer
from torch.profiler import ProfilerActivity, profile

from mmsls.cost.complexity import count_macs
from mmsls.integrations.mmdet import PrunedSwinTransformer
from mmsls.integrations.mmseg import PrunedVisionTransformer

KINDS = {
    'matrix products': ('addmm', 'mm', 'bmm', 'baddbmm', 'linear', 'matmul', 'convolution', 'conv2d'),
    'attention': ('attention', 'softmax'),
    'norms': ('layer_norm',),
    'GELU': ('gelu',),
    'copies and gathers': ('copy_', 'cat', 'index', 'index_select', 'roll', 'im2col', 'clone', 'contiguous', 'pad'),
    'sums': ('add', 'add_', 'mul'),
}
"""Kind to the words that an operator's name has one of; the first kind wins, the rest is `other`."""


def kind_of(operator: str) -> str:
    """Return the kind of an operator, such as `aten::addmm`."""
    name = operator.removeprefix('aten::')
    for kind, words in KINDS.items():
        if name in words or any(len(word) > 4 and word in name for word in words):
            return kind
    return 'other'


@torch.no_grad()
def milliseconds(model: Any, image: torch.Tensor, repeats: int) -> dict[str, float]:
    """Return the milliseconds of a pass by kind."""
    passes = []
    activity = ProfilerActivity.CUDA if DEVICE == 'cuda' else ProfilerActivity.CPU
    for turn in range(repeats + 1):
        with profile(activities=[activity]) as profiler:
            model(image)
        found = dict.fromkeys((*KINDS, 'other'), 0.0)
        for event in profiler.key_averages():
            spent = event.self_device_time_total if DEVICE == 'cuda' else event.self_cpu_time_total
            found[kind_of(event.key)] += spent / 1e3
        passes += [found] if turn else []
    return {kind: median(found[kind] for found in passes) for kind in passes[0]}


def table(title: str, models: dict[str, Any], image: torch.Tensor, repeats: int) -> None:
    """Print milliseconds by kind, a column a model."""
    spent = {name: milliseconds(at_rest(model), image, repeats) for name, model in models.items()}
    kinds: Iterable[str] = next(iter(spent.values()))
    rows = [(kind, *(f'{found[kind]:.1f}' for found in spent.values())) for kind in kinds]
    rows.append(('all', *(f'{sum(found.values()):.1f}' for found in spent.values())))
    show(title, ('ms', *spent), rows)


def adapted(cls: Any, folder: Path, **arguments: Any) -> Any:
    """Return a backbone of random weights with Convpass."""
    torch.save(cls(**arguments).state_dict(), folder / 'base.pth')
    return cls(**arguments, base_checkpoint=str(folder / 'base.pth'), adapter={'type': 'Convpass'})


@torch.no_grad()
def stage_table(swin: Any, image: torch.Tensor, repeats: int) -> None:
    """Print what the blocks of each stage cost, one by one on what they are called with."""
    calls: dict[str, Any] = {}

    def keep(name: str, block: Any, inputs: tuple[Any, ...]) -> None:
        calls[name] = partial(block.forward, *inputs)

    handles = [
        block.register_forward_pre_hook(partial(keep, f'stage {stage}, block {number}'))
        for (stage, number), block in at_rest(swin).iter_blocks()
    ]
    swin(image)
    for handle in handles:
        handle.remove()
    turns = Turns(calls, repeats)
    rows = []
    for name, call in calls.items():
        milliseconds, macs = 1e3 * median(seconds[name] for seconds in turns.rounds), count_macs(call) / 1e9
        rows.append((name, f'{macs:.2f}', f'{milliseconds:.1f}', f'{milliseconds / macs:.1f}'))
    show(f'Swin-T by block, 1x{image.shape[2]}x{image.shape[3]}', ('block', 'GMACs', 'ms', 'ms / GMACs'), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--repeats', type=int, default=5, help='(%(default)s)')
    args = parser.parse_args()
    size = tuple(args.size)
    image = torch.randn(1, 3, *size, device=DEVICE)
    vit: dict[str, Any] = {'embed_dims': 384, 'num_heads': 6, 'img_size': size, 'final_norm': True}
    fused = {**vit, 'fused_attention': True}
    timms = partial(timm.create_model, img_size=size, features_only=True)
    swins = {'MMDetection': SwinTransformer(), 'timm': timms(TIMM_SWIN), 'ours': PrunedSwinTransformer()}
    with tempfile.TemporaryDirectory() as folder:
        swins['ours, Convpass'] = adapted(PrunedSwinTransformer, Path(folder))
        convpass_vit = adapted(PrunedVisionTransformer, Path(folder), **fused)
    vits = {
        'MMSegmentation': VisionTransformer(**vit),
        'timm': timms('vit_small_patch16_224'),
        'ours': PrunedVisionTransformer(**fused),
        'ours, Convpass': convpass_vit,
    }
    table(f'Swin-T, 1x{size[0]}x{size[1]}', swins, image, args.repeats)
    table(f'ViT-S/16, 1x{size[0]}x{size[1]}', vits, image, args.repeats)
    stage_table(PrunedSwinTransformer(), image, args.repeats)


if __name__ == '__main__':
    main()
