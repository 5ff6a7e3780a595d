"""Does mmsls decide as the published procedure does, taken literally, for alpha 0.1 .. 0.9?

The procedure is written out here without mmsls: block after block, a forward pass of the whole model over all training
images, of which that block's features are kept, scikit-learn's t-SNE, axes scaled to [0, 1], the silhouette, and the
walk down from the top. By default the features are the stored ones of ../shared/golden; with --config and --checkpoint
they come from a tuned model, and the decisions are compared with those of the pruning index that mmsls wrote for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import show
from mmengine.runner import Runner
from scoring import GOLDEN, published

from mmsls import runs
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import choose_depths, layer_scores
from mmsls.vtab.settings import for_machine, for_task

ALPHAS = tuple(alpha / 10 for alpha in range(1, 10))
HEADER = ('alpha', 'published keeps', 'mmsls keeps', 'same', 'nearest score to the threshold')


def published_depth(scores: Sequence[float], alpha: float) -> int:
    """Walk down from block N; stop at the first block i below alpha * score of N, and keep 1 .. i + 1."""
    count = len(scores)
    if scores[-1] <= 0:
        return count
    for number in range(count, 0, -1):
        if scores[number - 1] < alpha * scores[-1]:
            return number + 1
    return 1


def margin(scores: Sequence[float], alpha: float) -> float:
    """Return how near a score comes to the threshold; the top block's own score is no candidate."""
    return min(abs(score - alpha * scores[-1]) for score in scores[:-1])


def compare(title: str, theirs: Sequence[float], ours: Sequence[float]) -> bool:
    """Print both decisions for every alpha, and say whether they agree."""
    table = {(0, block): score for block, score in enumerate(ours)}
    rows = []
    for alpha in ALPHAS:
        kept = sum(choose_depths(table, alpha=alpha, scope='model'))
        wanted = published_depth(theirs, alpha)
        rows.append((f'{alpha:.1f}', str(wanted), str(kept), str(kept == wanted), f'{margin(theirs, alpha):.3f}'))
    show(title, HEADER, rows)
    moved = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    print('published: ' + ' '.join(f'{score:+.3f}' for score in theirs))
    print('mmsls:     ' + ' '.join(f'{score:+.3f}' for score in ours))
    print(f'scores differ by at most {moved:.4f}\n')
    return all(row[3] == 'True' for row in rows)


def golden(path: Path) -> bool:
    with np.load(path) as file:
        features, labels = file['features'], file['labels']
    theirs, _ = published(lambda block: features[block], labels, len(features))
    ours = layer_scores({(0, block): array for block, array in enumerate(features)}, labels)
    return compare(path.stem, theirs, list(ours.values()))


class PlainPasses:
    """A tuned ViT or Swin of mmpretrain, RepAdapter merged by mmsls; every call walks over its training images anew."""

    def __init__(self, args: argparse.Namespace) -> None:
        cfg = for_machine(for_task(runs.load_config(args.config), args.task, args.data_root), workers=0)
        self.model: Any = runs.build_model(cfg, args.checkpoint)
        runs.merge_adapters(self.model.backbone)
        self.loader: Any = Runner.build_dataloader(runs.split_dataloader(cfg, 'train'))
        self.labels = np.array(
            [self.loader.dataset.get_data_info(n)['gt_label'] for n in range(len(self.loader.dataset))]
        )
        backbone = self.model.backbone
        stages = backbone.stages if hasattr(backbone, 'stages') else [backbone]
        self.blocks = [(block, stage) for stage in stages for block in getattr(stage, 'blocks', None) or stage.layers]

    @torch.no_grad()
    def features(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return one feature per image after some blocks, (n, C) each, of one pass over the images."""
        kept: list[list[np.ndarray]] = [[] for _ in numbers]

        def watch(number: int, rows: list[np.ndarray]) -> Any:
            block, stage = self.blocks[number]
            return block.register_forward_hook(
                lambda _, inputs, out: rows.append(feature(stage, inputs, out).numpy().copy())
            )

        hooks = [watch(number, rows) for number, rows in zip(numbers, kept, strict=True)]
        for batch in self.loader:
            self.model.test_step(batch)
        for hook in hooks:
            hook.remove()
        return [np.concatenate(rows) for rows in kept]


def feature(stage: Any, inputs: tuple, out: torch.Tensor) -> torch.Tensor:
    """Return what the author takes of a block: a ViT's class token; Swin's average token, after patch merging."""
    if not hasattr(stage, 'blocks'):
        return out[:, 0]
    tokens = out if stage.downsample is None else stage.downsample(out, inputs[1])[0]
    return tokens.mean(1)


def tuned(args: argparse.Namespace) -> bool:
    passes = PlainPasses(args)
    if args.one_pass:
        stored = passes.features(range(len(passes.blocks)))
        theirs, _ = published(lambda block: stored[block], passes.labels, len(passes.blocks))
    else:
        theirs, _ = published(lambda block: passes.features([block])[0], passes.labels, len(passes.blocks))
    return compare(f'{args.task}, {args.checkpoint}', theirs, list(PruningIndex.load(args.index).scores.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / 'shared'
    parser.add_argument(
        '--golden', type=Path, default=shared / 'golden', help='folder of the golden features (%(default)s)'
    )
    parser.add_argument('--config', help='config of a tuned ViT or Swin')
    parser.add_argument('--checkpoint', help='its tuned weights')
    parser.add_argument('--index', help='the pruning index that mmsls wrote for it')
    parser.add_argument('--task', default='sign_digits')
    parser.add_argument('--data-root', default=str(shared / 'data'))
    parser.add_argument('--one-pass', action='store_true', help='take all features in one pass, to save time')
    args = parser.parse_args()
    agree = [tuned(args)] if args.config else [golden(args.golden / f'{name}.npz') for name in GOLDEN]
    print('the same decision everywhere' if all(agree) else 'NOT the same decision everywhere')


if __name__ == '__main__':
    main()
