"""How many images are enough to decide by? The bridged metric of every depth on fewer images, and what that costs.

    python benchmarks/enough_images.py configs/camvid/tune.py work_dirs/camvid/tuned/iter_400.pth

Every depth of a tuned ViT is judged once, bridged, nothing trained. Then the decision (`max_drop`) is made again and
again on images drawn at random from those, by the host's metric on the same outputs; what it loses is read from the
curve of all images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from common import show
from mmengine.config import DictAction

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.criteria.base import Evidence
from mmsls.criteria.bridged import Bridged
from mmsls.features.half_samples import FEWEST
from mmsls.features.trial import Judge, Trial
from mmsls.scoring import Curve, Rule
from mmsls.scoring.curve import POINTS


@dataclass(frozen=True)
class RememberingTrial(Trial):
    """A trial that keeps its judges, which can be asked again."""

    judges: list[Judge] = field(default_factory=list)

    def judge(self, loader: object) -> Judge:
        """Return a new judge, and remember it."""
        self.judges.append(super().judge(loader))  # type: ignore[arg-type]
        return self.judges[-1]


def kept_by(curve: Sequence[float], rule: Rule) -> int:
    """Return the depth that a rule reads off the values of blocks 1 to N."""
    return sum(rule.decide(Curve({(0, block): value for block, value in enumerate(curve)}, POINTS)).kept_depths)


def row_of(size: int, judges: Sequence[Judge], curve: Sequence[float], rule: Rule, draws: int) -> tuple[str, ...]:
    """Decide on so many images, again and again, and say what was kept and lost."""
    rng, kept, lost = np.random.default_rng(size), [], []
    for _ in range(draws):
        images = sorted(rng.choice(judges[0].size, size, replace=False).tolist())
        kept.append(kept_by([judge.on(images) for judge in judges], rule))
        lost.append(max(0.0, curve[-1] - curve[kept[-1] - 1]))
    near = np.mean([abs(one - kept_by(curve, rule)) <= 1 for one in kept])
    low, high = np.percentile(kept, (10, 90))
    spread = f'{np.median(kept):.0f} ({low:.0f} to {high:.0f})'
    return str(size), spread, f'{100 * near:.0f} %', f'{np.mean(lost):.1f}', f'{np.percentile(lost, 90):.1f}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument(
        '--split', choices=('val', 'test'), default='test', help='the larger of the two (default: test)'
    )
    parser.add_argument('--max-drop', type=float, default=1.0)
    parser.add_argument('--draws', type=int, default=40)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    cfg = runs.load_config(args.config, None, args.cfg_options)
    model = runs.build_model(cfg, args.checkpoint)
    backbone = find_backbone(model)
    (depth,) = backbone.depths
    criterion, trial = Bridged(rounds=0), RememberingTrial(cfg, args.split)
    curve = list(criterion(Evidence(model, backbone, (), {}, np.zeros(0), trial=trial)).values())
    judges = [*trial.judges[1:], trial.judges[0]]  # the whole model was judged first
    rule, whole = Rule(max_drop=args.max_drop, scope='stage'), judges[0].size
    sizes = [size for size in (8, 16, 32, 64, 128, 256, 512) if FEWEST <= size < whole]
    rows = [row_of(size, judges, curve, rule, args.draws) for size in sizes]
    title = f'{criterion.metric} on {args.split}: {kept_by(curve, rule)} of {depth} blocks on all {whole} images'
    show(title, ('images', 'blocks kept (80 %)', 'within one', 'points lost', 'in the worst tenth'), rows)


if __name__ == '__main__':
    main()
