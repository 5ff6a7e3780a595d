"""Every adapter method on one task under one budget: the whole chain, trained parameters, step time, memory.

The chain is tune, score, prune, retrain.

    python benchmarks/adapters.py configs/camvid/tune.py --pruned configs/camvid/pruned.py

Time and memory are of a training step of the whole model on two training images, in turns in one process. A run that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import show
from mmengine.config import Config, DictAction

from mmsls import runs
from mmsls.chain.chain import Chain
from mmsls.cli import add_rule_options, chosen
from mmsls.cost.complexity import latencies, training_bytes
from mmsls.cost.measuring import Row, first_images, losses
from mmsls.report.console_log import terminal
from mmsls.report.progress import ChainProgress
from mmsls.report.table import headline

ADAPTERS = Path(__file__).resolve().parents[1] / 'configs/_base_/adapters'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='config that tunes adapters at full depth')
    parser.add_argument('--work-dir', help='where the runs go (default: work_dirs/adapters/<folder of the config>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value settings of every run')
    parser.add_argument('--pruned', help='config of the retraining')
    parser.add_argument('--methods', nargs='+', default=sorted(path.stem for path in ADAPTERS.glob('*.py')))
    parser.add_argument('--repeats', type=int, default=5)
    add_rule_options(parser)
    return parser.parse_args()


def configs_with(method: str, work_dir: Path, args: argparse.Namespace) -> list[Config | None]:
    """Read the configs of tuning and retraining, and give their backbones a method's adapter."""
    cfgs = runs.load_configs((args.config, args.pruned), str(work_dir), args.cfg_options)
    for cfg in filter(None, cfgs):
        cfg.model.backbone.adapter = Config.fromfile(ADAPTERS / f'{method}.py').adapter
    return cfgs


def chain(method: str, work_dir: Path, args: argparse.Namespace) -> dict[str, Row]:
    """Run a method's chain and return its rows by name."""
    tune, pruned = configs_with(method, work_dir, args)
    work_dir.mkdir(parents=True, exist_ok=True)
    with ChainProgress(terminal(), work_dir / 'console.log') as progress:
        return {row.name: row for row in Chain(tune, work_dir, progress, pruned, decision=chosen(args)).run()}


def costs(args: argparse.Namespace, work_dir: Path) -> dict[str, tuple[float, int]]:
    """Return seconds and bytes of a training step of each method's whole model on two images."""
    batch, steps, memory = None, {}, {}
    for method in args.methods:
        cfg, _ = configs_with(method, work_dir, args)
        batch = first_images(cfg, 'train', 2) if batch is None else batch
        model = runs.build_model(cfg).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        steps[method] = partial(step, model, torch.optim.AdamW(trained, lr=1e-4), batch)
        memory[method] = training_bytes(model, partial(losses, model, batch))
    seconds = latencies(steps, args.repeats)
    return {method: (seconds[method], memory[method]) for method in steps}


def step(model: Any, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    """Run forward, backward and update."""
    optimizer.zero_grad(set_to_none=True)
    model.parse_losses(losses(model, batch))[0].backward()
    optimizer.step()


def main() -> None:
    args = parse_args()
    if args.config is None:
        print('adapters.py trains every method, which takes hours: name a config, as in its first lines')
        return
    work_dir = Path(args.work_dir or f'work_dirs/adapters/{Path(args.config).parent.name}')
    rows = {method: chain(method, work_dir / method, args) for method in args.methods}
    spent = costs(args, work_dir)
    body = []
    for method, found in rows.items():
        tuned, key = found['tuned'], headline(found['tuned'].metrics)
        last = found.get('retrained', tuned)
        metrics = [f'{found[name].metrics[key]:.3f}' if name in found else '-' for name in ('pruned', 'retrained')]
        seconds, size = spent[method]
        trained = f'{tuned.parameters.trained / 1e6:.3f}' if tuned.parameters else '-'
        cost = (f'{seconds * 1e3:.0f}', f'{size / 2**20:.0f}')
        body.append((method, f'{tuned.metrics[key]:.3f}', '-'.join(map(str, last.depths)), *metrics, trained, *cost))
    header = ('method', f'tuned {key}', 'kept', 'pruned', 'retrained', 'trained M', 'step ms', 'train MiB')
    show(f'{Path(args.config).parent.name}, training step on two images', header, body)


if __name__ == '__main__':
    main()
