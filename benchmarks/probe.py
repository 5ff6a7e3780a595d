"""What it costs to score 12 blocks of DeiT-Tiny, against the bare forward pass over the same images, in CPU time.

The images are read and prepared once, before anything is timed: they cost the same with and without scoring. Bare is
the model's own test step. Scored by the probe is all that `tools/score.py` does more: recording, sampling, the bank, 12
cross-validated probes, the bootstraps of the decision. The other criteria are timed on the features so recorded.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import sklearn
import torch
from common import show
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmsls import runs
from mmsls.criteria import Evidence, build_criterion
from mmsls.features.scorer import BlockScorer
from mmsls.scoring.rule import Rule
from mmsls.vtab.settings import for_machine, for_task

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ('ncm', 'knn', 'logme', 'hscore', 'sls')
BAR = 1.15


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU time of a call, of all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def make_config(data: Path) -> Config:
    """Return the config of the sign digits on DeiT-Tiny, without adapters."""
    cfg = Config.fromfile(ROOT / 'configs/cls/vtab/deit-tiny_convpass.py')
    cfg = for_machine(for_task(cfg, 'sign_digits', str(data / 'data')), workers=0, batch_size=16)
    cfg.model.backbone.adapter = None
    cfg.model.backbone.base_checkpoint = str(data / 'data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth')
    return cfg


class Scoring:
    """A model, its images in memory, and the two passes over them."""

    def __init__(self, data: Path, every: int) -> None:
        cfg = make_config(data)
        init_default_scope('mmpretrain')
        self.model: Any = runs.build_model(cfg).eval()
        self.loader = Runner.build_dataloader(runs.split_dataloader(cfg, 'train'), seed=0)
        # By number, since the scorer asks which batch it is; the classes stand one after the other in the list.
        self.batches = {number: batch for number, batch in enumerate(self.loader) if number % every == 0}
        self.scorer = BlockScorer(
            self.model, 'ImageSampler', rule=Rule(max_drop=1.0), criterion='probe', max_samples=2000
        )

    @torch.no_grad()
    def bare(self) -> None:
        """Run the model over all images."""
        for batch in self.batches.values():
            self.model.test_step(batch)

    @torch.no_grad()
    def recorded(self) -> None:
        """Run it while the scorer collects."""
        self.scorer.start(self.loader)
        for number, batch in self.batches.items():
            self.scorer.observe(number, self.model.test_step(batch))

    def scored(self) -> None:
        """Score what was collected by the probe, and decide."""
        self.scorer.finish('train')

    def by(self, criterion: str) -> None:
        """Score it by another criterion."""
        features, labels, _ = self.scorer.bank.to_arrays()
        build_criterion(criterion)(Evidence(self.model, self.scorer.backbone, (), features, labels))


def measure(scoring: Scoring, repeats: int) -> dict[str, list[float]]:
    """Return CPU seconds of every part, all of them in turns."""
    scoring.bare()  # the first pass warms everything up
    parts: dict[str, Callable[[], None]] = {
        'bare': scoring.bare,
        'recorded': scoring.recorded,
        'probe': scoring.scored,
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            seconds[name].append(cpu_seconds(part))
    for name in OTHERS:
        seconds[name] = [cpu_seconds(lambda name=name: scoring.by(name))]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / 'shared'
    parser.add_argument('--data', type=Path, default=shared, help='folder with data/ (%(default)s)')
    parser.add_argument('--every', type=int, default=2, help='take every so many of the batches of 16 (%(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='(%(default)s)')
    args = parser.parse_args()
    if not (args.data / 'data/sign_digits').is_dir():
        parser.error(f'--data {args.data} has no folder data/sign_digits')
    MMLogger.get_instance('mmengine', log_level='ERROR')
    scoring = Scoring(args.data, args.every)
    seconds = {name: median(found) for name, found in measure(scoring, args.repeats).items()}
    bare, recorded = seconds['bare'], seconds['recorded']
    rows = [('bare forward pass', f'{bare:.2f}', '1.00'), ('recorded', f'{recorded:.2f}', f'{recorded / bare:.2f}')]
    for name in ('probe', *OTHERS):
        told = f'scored by {name} (bar: {BAR})' if name == 'probe' else f'scored by {name}'
        rows.append((told, f'{recorded + seconds[name]:.2f}', f'{(recorded + seconds[name]) / bare:.2f}'))
    count = sum(len(batch['inputs']) for batch in scoring.batches.values())
    show(f'12 blocks of DeiT-Tiny, {count} images, CPU time', ('pass', 'CPU s', 'ratio to bare'), rows)
    load = ' '.join(f'{value:.1f}' for value in os.getloadavg())
    print(f'scikit-learn {sklearn.__version__}, numpy {np.__version__}; load average of the machine {load}')


if __name__ == '__main__':
    main()
