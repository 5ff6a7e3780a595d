"""Backbones on a GPU: images a second and peak memory, inference and training, in under ten minutes.

    benchmarks/gpu.sh                                                           # all of it
    python benchmarks/on_gpu.py --models swin_t --sizes 64x96 --batches 1 --cpu  # whether it runs, without a GPU

Random weights; every variant of a model after the other on the same images. What does not fit into memory, and what the
time does not suffice for, is said.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from common import machine, show
from mmdet.models.backbones import SwinTransformer
from mmengine.logging import MMLogger
from mmseg.models.backbones import VisionTransformer
from torch import Tensor, nn

from mmsls.backbones.timm.backbone import PrunedTimmBackbone
from mmsls.deploy.merging import merge_backbone
from mmsls.integrations.mmdet import PrunedSwinTransformer
from mmsls.integrations.mmseg import PrunedVisionTransformer

Size = tuple[int, int]
SWINS: dict[str, dict[str, Any]] = {
    'swin_t': {'embed_dims': 96, 'depths': (2, 2, 6, 2), 'num_heads': (3, 6, 12, 24)},
    'swin_b': {'embed_dims': 128, 'depths': (2, 2, 18, 2), 'num_heads': (4, 8, 16, 32)},
    'swin_l': {'embed_dims': 192, 'depths': (2, 2, 18, 2), 'num_heads': (6, 12, 24, 48)},
}
TIMM_SWINS = {'swin_t': 'tiny', 'swin_b': 'base', 'swin_l': 'large'}
DINOV2 = 'vit_base_patch14_reg4_dinov2'
MODELS = (*SWINS, 'vit_b', 'dinov2_b')
CONVPASS = {'type': 'Convpass', 'rank': 8}


@dataclass(frozen=True)
class Measured:
    """One variant of a model on one batch; seconds and MiB are None where it did not fit or time was over."""

    work: str
    model: str
    variant: str
    size: str
    batch: int
    dtype: str
    images_per_second: float | None
    peak_mib: float | None
    note: str = ''

    def cells(self) -> tuple[str, ...]:
        """Return a row of the table."""
        speed = '-' if self.images_per_second is None else f'{self.images_per_second:.1f}'
        memory = '-' if self.peak_mib is None else f'{self.peak_mib:.0f}'
        return self.model, self.variant, self.size, str(self.batch), self.dtype, speed, memory, self.note


def variants(model: str, size: Size, folder: Path) -> dict[str, Callable[[], nn.Module]]:
    """Return what builds every variant of a model for images of a size."""
    if model in SWINS:
        arguments, half = SWINS[model], tuple(max(1, depth // 2) for depth in SWINS[model]['depths'])
        name = f'swin_{TIMM_SWINS[model]}_patch4_window7_224'
        adapted = partial(on_base, PrunedSwinTransformer, arguments, folder)
        return {
            'stock': partial(SwinTransformer, **arguments),
            'timm': partial(timm.create_model, name, img_size=size, features_only=True),
            'ours': partial(PrunedSwinTransformer, **arguments),
            'ours, half of the blocks': partial(PrunedSwinTransformer, **arguments, kept_depths=half),
            'ours, Convpass': partial(adapted, CONVPASS),
            'ours, LoRA merged': partial(adapted, {'type': 'LoRA', 'rank': 8}, merge=True),
        }
    if model == 'vit_b':
        arguments = {'embed_dims': 768, 'num_layers': 12, 'num_heads': 12, 'img_size': size, 'final_norm': True}
        fused = {**arguments, 'fused_attention': True}
        adapted = partial(on_base, PrunedVisionTransformer, fused, folder)
        return {
            'stock': partial(VisionTransformer, **arguments),
            'timm': partial(timm.create_model, 'vit_base_patch16_224', img_size=size, features_only=True),
            'ours': partial(PrunedVisionTransformer, **fused),
            'ours, 8 blocks': partial(PrunedVisionTransformer, **fused, kept_depths=(8,)),
            'ours, Convpass': partial(adapted, CONVPASS),
        }
    ours = partial(PrunedTimmBackbone, DINOV2, img_size=size)
    return {
        'timm': partial(timm.create_model, DINOV2, img_size=size, features_only=True),
        'ours': ours,
        'ours, 8 blocks': partial(ours, kept_depths=(8,)),
    }


def on_base(cls: Any, arguments: Any, folder: Path, adapter: Any, merge: bool = False) -> nn.Module:
    """Build a backbone with adapters on a frozen base of random weights, merged if asked for."""
    base = folder / 'base.pth'
    torch.save(cls(**arguments).state_dict(), base)
    model = cls(**arguments, base_checkpoint=str(base), adapter=adapter)
    if merge:
        merge_backbone(model)
    return model


class Bench:
    """What is measured, until the time is over.

    Args:
        device: `cuda` or `cpu`.
        minutes: When to stop.
    """

    def __init__(self, device: str, minutes: float) -> None:
        self.device, self.end = device, time.perf_counter() + 60 * minutes
        self.found: list[Measured] = []

    def measure(self, work: str, names: tuple[str, str], batch: Tensor, dtype: str, build: Callable[..., Any]) -> None:
        """Measure one variant; `build` returns a call that does the work once."""
        size = f'{batch.shape[2]}x{batch.shape[3]}'
        told = partial(Measured, work, *names, size, len(batch), dtype)
        if time.perf_counter() > self.end:
            self.found.append(told(None, None, 'not measured: time is over'))
            return
        try:
            self.found.append(told(*self.speed(build(), len(batch))))
        except torch.cuda.OutOfMemoryError:
            self.found.append(told(None, None, 'out of memory'))
        if self.device == 'cuda':
            torch.cuda.empty_cache()

    def speed(self, call: Callable[[], Any], images: int) -> tuple[float, float | None]:
        """Return images a second, over a second or three calls, whichever is longer, and peak MiB."""
        for _ in range(2):
            call()
        cuda = self.device == 'cuda'
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        calls, start = 0, time.perf_counter()
        while calls < 3 or time.perf_counter() - start < 1:
            call()
            calls += 1
            if cuda:
                torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        return calls * images / seconds, torch.cuda.max_memory_allocated() / 2**20 if cuda else None

    def inference(self, model: str, sizes: list[Size], batches: list[int], compiled: bool) -> None:
        """Measure forward passes of a model's variants in fp32 and bf16."""
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                built = variants(model, fitting(model, size), Path(folder))
                if compiled and size == sizes[0]:
                    built['ours, compiled'] = lambda built=built: torch.compile(built['ours'](), dynamic=False)
                for variant, build in built.items():
                    network: Any = build().to(self.device)
                    network.eval()
                    network.requires_grad_(False)
                    for batch in batches:
                        image = torch.randn(batch, 3, *fitting(model, size), device=self.device)
                        for dtype in ('fp32', 'bf16'):
                            work = partial(self.forward, network, image, dtype)
                            self.measure('inference', (model, variant), image, dtype, lambda work=work: work)

    def forward(self, network: nn.Module, image: Tensor, dtype: str) -> None:
        """Run a forward pass, under autocast for bf16."""
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=dtype == 'bf16'):
            network(image)

    def training(self, model: str, size: Size, batch: int) -> None:
        """Measure training steps: everything, adapters in all blocks, adapters in the upper half."""
        upper = {**CONVPASS, 'stages': [2, 3]} if model in SWINS else {**CONVPASS, 'blocks': list(range(6, 12))}
        with tempfile.TemporaryDirectory() as folder:
            every = variants(model, size, Path(folder))
            adapted: Any = every['ours, Convpass']
            steps = {
                'all weights (stock)': every['stock'],
                'Convpass': adapted,
                'Convpass in the upper blocks': partial(adapted.func, *adapted.args[:-1], upper),
            }
            image = torch.randn(batch, 3, *size, device=self.device)
            for variant, build in steps.items():
                self.measure('training', (model, variant), image, 'fp32', partial(self.step, build, image))

    def step(self, build: Callable[[], nn.Module], image: Tensor) -> Callable[[], None]:
        """Return a training step with AdamW."""
        network = build().to(self.device)
        network.train()
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            sum(output.mean() for output in network(image)).backward()
            optimizer.step()

        return step


def fitting(model: str, size: Size) -> Size:
    """Return the size, or for DINOv2 the next lower multiple of its patches of 14 pixels."""
    return (size[0] // 14 * 14, size[1] // 14 * 14) if model == 'dinov2_b' else size


def parse_size(text: str) -> Size:
    """Read `800x1344`."""
    height, width = map(int, text.split('x'))
    return height, width


def measured(args: argparse.Namespace) -> Iterator[list[Measured]]:
    """Measure everything that is asked for, and yield what was found after each part."""
    device = 'cpu' if args.cpu else 'cuda'
    bench = Bench(device, args.minutes)
    for model in args.models:
        bench.inference(model, args.sizes, args.batches, not args.cpu and model in ('swin_t', 'vit_b'))
        yield bench.found
    for model in sorted({'swin_t', 'vit_b'} & set(args.models)):
        bench.training(model, args.sizes[0], max(args.batches))
        yield bench.found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=MODELS, default=MODELS)
    parser.add_argument('--sizes', nargs='+', type=parse_size, default=[(224, 224), (800, 1344)], help='HEIGHTxWIDTH')
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 16])
    parser.add_argument('--minutes', type=float, default=9.0, help='stop after so many (%(default)s)')
    parser.add_argument('--cpu', action='store_true', help='on the processor: whether it runs, no figures to quote')
    parser.add_argument('--out', type=Path, help='JSON file of what was measured')
    args = parser.parse_args()
    if not args.cpu and not torch.cuda.is_available():
        parser.error('PyTorch sees no GPU; --cpu shows whether this script runs')
    MMLogger.get_instance('mmengine', log_level='ERROR')
    found: list[Measured] = []
    for found in measured(args):
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps({'machine': machine(), 'found': [asdict(one) for one in found]}, indent=1))
    header = ('model', 'variant', 'size', 'batch', 'dtype', 'images / s', 'peak MiB', '')
    for work in ('inference', 'training'):
        show(work, header, [one.cells() for one in found if one.work == work])


if __name__ == '__main__':
    main()
