"""One of two processes of `test_two_processes_judge_halves_as_one`: judge a share of the images, then halves of all."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmsls.features.trial import Judge, Trial

IMAGES = 31


class Images(list):
    """As many images as there are, and their classes."""

    metainfo = {'classes': ('a', 'b')}


@METRICS.register_module(force=True)
class Share(BaseMetric):
    """The share of images that are right, in percent."""

    default_prefix = 'own'

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {'top1': 100 * sum(results) / len(results)}


def told(rank: int, world: int) -> list:
    """Return what a process says of two models, one of which is right on every third image."""
    trial = Trial(Config({'val_evaluator': {'type': 'mmengine.Share'}, 'val_dataloader': {}}))
    judges = [Judge(trial.cfg.val_evaluator, Images(range(IMAGES))) for _ in range(2)]
    # As DefaultSampler deals them out: in turn, and the first ones again until all have as many.
    for number in range(rank, IMAGES + (-IMAGES) % world, world):
        for judge, right in zip(judges, (number % 3 == 0, number % 5 > 0), strict=True):
            judge.process([right], None)
    points = [judge.points()[1] for judge in judges]
    return [points, trial.on_parts(judges, 20, seed=3), judges[0].chance]


def main(folder: Path, rank: int) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    (folder / f'{rank}.json').write_text(json.dumps(told(rank, 2)))
    dist.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]))
