"""Every bar of speed and memory beside what is measured for it, in one process: `make bench`.

    OMP_NUM_THREADS=1 python benchmarks/bench.py --out work_dirs/bench.json

Each ratio is of two calls that take turns, the median over the rounds. On a processor it is of CPU time, which other
programs on the machine move less than the time on the wall; on a GPU of time on the wall, the queue emptied before and
after. The other files of this folder measure the same things one by one, in more detail.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import merge
import pruned_backbone
import scoring
import timm
import torch
import tuning
from common import machine, show
from mmdet.models.backbones import SwinTransformer
from mmengine.logging import MMLogger
from probe import Scoring, cpu_seconds
from torch import nn

from mmsls.cost.complexity import count_macs, synchronise, training_bytes
from mmsls.deploy.merging import merge_backbone
from mmsls.integrations.mmdet import PrunedSwinTransformer
from mmsls.scoring import layer_scores

SHARED = Path(__file__).resolve().parents[2] / 'shared'
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
SIZES = ((224, 224), (512, 672))
MERGED = ('RepAdapter', 'LoRA', 'SSF')
TIMM_SWIN = 'swin_tiny_patch4_window7_224'


@dataclass(frozen=True)
class Bar:
    """One bar, and what was measured.

    Attributes:
        part: Which part of this file measures it.
        name: What is compared with what.
        ratio: What was measured.
        bar: What is asked for.
        at_least: Whether larger is better.
    """

    part: str
    name: str
    ratio: float
    bar: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the rounded ratio is on the right side."""
        ratio = round(self.ratio, 2)
        return ratio >= self.bar if self.at_least else ratio <= self.bar

    def cells(self) -> tuple[str, ...]:
        """Return a row of the table."""
        asked = f'{">=" if self.at_least else "<="} {self.bar:.2f}'
        return self.part, self.name, f'{self.ratio:.2f}', asked, 'yes' if self.met else 'NO'


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds of a call: of the processor, or of the wall where a GPU works."""
    clock = time.perf_counter if DEVICE == 'cuda' else time.process_time
    synchronise()
    start = clock()
    call()
    synchronise()
    return clock() - start


class Turns:
    """Seconds of several calls, taken in turns.

    Args:
        calls: Name to call.
        repeats: Rounds after the first, which warms up.
    """

    def __init__(self, calls: Mapping[str, Callable[[], object]], repeats: int) -> None:
        for call in calls.values():
            call()
        self.rounds = [{name: seconds_of(call) for name, call in calls.items()} for _ in range(repeats)]

    def ratio(self, of: str, to: str) -> float:
        """Return the median over the rounds of one call's seconds divided by another's."""
        return median(seconds[of] / seconds[to] for seconds in self.rounds)


def at_rest(model: nn.Module) -> nn.Module:
    """Return a model for inference, in place."""
    model.eval()  # the hosts' own `train` returns nothing
    return model.requires_grad_(False).to(DEVICE)


@torch.no_grad()
def forward(repeats: int, compiled: bool) -> Iterator[Bar]:
    """Compare Swin-T forward passes: the host's, timm's, ours, ours compiled."""
    for size in SIZES:
        image = torch.randn(1, 3, *size, device=DEVICE)
        models: dict[str, Any] = {
            'stock': at_rest(SwinTransformer()),
            'timm': at_rest(timm.create_model(TIMM_SWIN, img_size=size, features_only=True)),
            'ours': at_rest(PrunedSwinTransformer()),
        }
        if compiled:
            torch.compiler.reset()
            models['compiled'] = torch.compile(models['ours'], fullgraph=True)
        turns = Turns({name: partial(model, image) for name, model in models.items()}, repeats)
        at = f'at {size[0]}x{size[1]}'
        yield Bar('forward', f'Swin-T of timm / ours, {at}', turns.ratio('timm', 'ours'), 1.05, at_least=True)
        yield Bar('forward', f'Swin-T of MMDetection / ours, {at}', turns.ratio('stock', 'ours'), 1.2, at_least=True)
        if compiled:
            ratio = turns.ratio('stock', 'compiled')
            yield Bar('forward', f'Swin-T of MMDetection / ours compiled, {at}', ratio, 1.3, at_least=True)


@torch.no_grad()
def pruned(repeats: int) -> Iterator[Bar]:
    """Compare pruned depths with the full one: time against multiplications."""
    image = torch.randn(1, 3, 480, 640, device=DEVICE)
    models = {depths: at_rest(PrunedSwinTransformer(kept_depths=depths)) for depths in pruned_backbone.DEPTHS}
    calls = {str(depths): partial(model, image) for depths, model in models.items()}
    macs = {name: count_macs(call) for name, call in calls.items()}
    turns, (full, *others) = Turns(calls, repeats), calls
    for name in others:
        excess = turns.ratio(name, full) - macs[name] / macs[full]
        yield Bar('pruned', f'Swin-T {name}: time / full - MACs / full', excess, 0.05)


@torch.no_grad()
def adapters(repeats: int) -> Iterator[Bar]:
    """Compare adapters, merged where they merge, with the bare backbone."""
    image = torch.randn(1, 3, 224, 224, device=DEVICE)
    for backbone, (cls, arguments) in merge.BACKBONES.items():
        bare = at_rest(cls(**arguments, fused_attention=True))
        with tempfile.TemporaryDirectory() as folder:
            base = str(Path(folder) / 'base.pth')
            torch.save(bare.state_dict(), base)
            models = {method: merge.tuned(cls, arguments, base, method).to(DEVICE) for method in ('Convpass', *MERGED)}
        for method in MERGED:
            merge_backbone(models[method])
        calls = {name: partial(model, image) for name, model in {'bare': bare, **models}.items()}
        turns = Turns(calls, 3 * repeats)  # short calls, close to each other
        yield Bar('adapters', f'{backbone} with Convpass / bare', turns.ratio('Convpass', 'bare'), 1.06)
        for method in MERGED:
            yield Bar('adapters', f'{backbone} with {method} merged / bare', turns.ratio(method, 'bare'), 1.01)


def tuned(repeats: int) -> Iterator[Bar]:
    """Compare a training step with adapters on a frozen base with full fine-tuning."""
    image = torch.randn(1, 3, 320, 320, device=DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        models = tuning.build_models(Path(folder) / 'base.pth')
    steps = {}
    for name, model in models.items():
        model.to(DEVICE).train()
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)
        steps[name] = partial(tuning.step, model, optimizer, image)
    turns, (full, *others) = Turns(steps, repeats), steps
    memory = {name: training_bytes(model, partial(model, image)) for name, model in models.items()}
    for name in others:
        yield Bar('tuning', f'Swin-T with {name}: memory / full', memory[name] / memory[full], 0.6)
        yield Bar('tuning', f'Swin-T with {name}: step / full', turns.ratio(name, full), 0.7)


def probed(repeats: int) -> Iterator[Bar]:
    """Compare scoring 12 blocks of DeiT-Tiny by the probe with the bare pass; of a larger ViT the pass costs more."""
    study = Scoring(SHARED, every=4)
    study.bare()
    ratios = []
    for _ in range(repeats):
        bare, recorded, probe = map(cpu_seconds, (study.bare, study.recorded, study.scored))
        ratios.append((recorded + probe) / bare)
    yield Bar('scoring', 'DeiT-Tiny, 12 blocks by probe / bare pass', median(ratios), 1.15)


def published(images: int = 40) -> Iterator[Bar]:
    """Compare the published procedure, a pass for each block, with one pass, on ViT-B with random weights."""
    files, labels = scoring.read_list(SHARED, images)
    passes = scoring.Passes('vit_base_patch16_224', SHARED, files)
    depth, features = len(passes.model.blocks), {}
    passes.class_tokens([0])

    def ours() -> None:
        kept = passes.class_tokens(range(depth))
        features['ours'] = layer_scores({(0, block): array for block, array in enumerate(kept)}, labels)

    def theirs() -> None:
        features['theirs'], _ = scoring.published(lambda block: passes.class_tokens([block])[0], labels, depth)

    ratio = seconds_of(theirs) / seconds_of(ours)
    same = scoring.decisions(features['theirs']) == scoring.decisions(list(features['ours'].values()))
    told = 'same' if same else 'ANOTHER'
    yield Bar('scoring', f'ViT-B, published over 12 passes / one pass, {told} decision', ratio, 10, at_least=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, help='JSON file of the ratios')
    parser.add_argument('--repeats', type=int, default=7, help='rounds of each comparison (%(default)s)')
    parser.add_argument('--no-compile', action='store_true', help='leave out torch.compile, which takes minutes')
    parser.add_argument('--parts', nargs='+', help='only these: forward pruned adapters tuning scoring')
    args = parser.parse_args()
    torch.manual_seed(0)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    parts: dict[str, list[Callable[[], Iterator[Bar]]]] = {
        'forward': [partial(forward, args.repeats, not args.no_compile)],
        'pruned': [partial(pruned, args.repeats)],
        'adapters': [partial(adapters, args.repeats)],
        'tuning': [partial(tuned, args.repeats)],
        'scoring': [partial(probed, 3), published],
    }
    unknown = set(args.parts or ()) - parts.keys()
    if unknown:
        parser.error(f'--parts {" ".join(sorted(unknown))}: the parts are {" ".join(parts)}')
    if 'scoring' in (args.parts or parts) and not (SHARED / 'data' / 'sign_digits').is_dir():
        parser.error(f'the part scoring needs {SHARED}/data/sign_digits; leave it out by --parts')
    bars: list[Bar] = []
    start = time.perf_counter()
    for name in args.parts or parts:
        for measure in parts[name]:
            for bar in measure():
                print(f'[{time.perf_counter() - start:4.0f} s]', *bar.cells(), flush=True)
                bars.append(bar)
    show('Every bar', ('part', 'what', 'measured', 'bar', 'met'), [bar.cells() for bar in bars])
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        found = {'machine': machine(), 'bars': [{**asdict(bar), 'met': bar.met} for bar in bars]}
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
