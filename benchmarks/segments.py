"""Is the top what should go? Runs of neighbouring blocks bridged, wherever they lie, judged by the host's own metric.

    python benchmarks/segments.py configs/camvid/tune.py work_dirs/camvid/tuned/iter_400.pth

Of a tuned ViT: for every length and every place, the blocks of the run are taken out, affine maps fitted on unlabelled
training images stand for what the head or the next block read of them, and the blocks above run on what these give.
Nothing is trained. The last column is what the rule may choose: the top of the backbone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch
from common import show
from mmengine.config import DictAction
from torch import Tensor

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.backbones.replay import Pass
from mmsls.criteria.trying import Bridges, fitted_bridges, judged
from mmsls.features.trial import Trial
from mmsls.scoring import BlockId

Run = tuple[int, int]
"""A run of removed blocks: the last block before it, and its own last."""


class WithoutRun:
    """What stands in for each block where a run is bridged (see `substituted`)."""

    def __init__(self, run: Run, bridges: Bridges, passes: Sequence[Pass]) -> None:
        self.run, self.bridges, self.passes = run, bridges, passes
        self.held: dict[int, Tensor] = {}

    def __call__(self, number: int, block: BlockId) -> Callable[[Tensor], Tensor] | None:
        """Return what a block becomes in the n-th pass."""
        before, last = self.run
        if block[1] <= before:
            return lambda _: self.passes[number][block]
        return None if block[1] > last else lambda x: self._stand_in(number, block, x)

    def _stand_in(self, number: int, block: BlockId, x: Tensor) -> Tensor:
        before = self.run[0]
        if block[1] == before + 1:
            self.held[number] = x
        bridge = self.bridges.get(((0, before), block))
        return x if bridge is None else bridge(self.held[number])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--lengths', type=int, nargs='+', default=[2, 4, 6])
    parser.add_argument('--split', choices=('val', 'test'), default='val')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    cfg = runs.load_config(args.config, None, args.cfg_options)
    model = runs.build_model(cfg, args.checkpoint)
    backbone = find_backbone(model)
    (depth,) = backbone.depths
    every = [(last - length, last) for length in args.lengths for last in range(length, depth)]
    read = [block for _, block in backbone.bridge_targets()]
    ends = {((0, before), (0, block)) for before, last in every for block in (*read, last) if before < block <= last}
    ways: list[Run | None] = [None, *every]
    with torch.no_grad():
        trial = Trial(cfg, args.split)
        bridges = fitted_bridges(model, trial, sorted(ends))
        whole = judged(model, trial, ways, lambda run, passes: run and WithoutRun(run, bridges, passes))
    value, *points = whole.points
    found = dict(zip(every, points, strict=True))
    rows = []
    for length in args.lengths:
        values = (found.get((last - length, last)) for last in range(1, depth))
        rows.append((str(length), *('-' if value is None else f'{value:.1f}' for value in values)))
    title = f'{whole.metric} in points on {args.split}, by blocks removed and where they end (whole model: {value:.1f})'
    show(title, ('removed', *map(str, range(1, depth))), rows)


if __name__ == '__main__':
    main()
