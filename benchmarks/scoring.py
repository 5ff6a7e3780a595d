"""Scoring N blocks: one pass and threads (`layer_scores`) against the published procedure, on real features.

The published procedure takes the blocks from the top, one after the other: a forward pass of the whole model over all
images, of which only that block's features are kept, then t-SNE and the silhouette; it ends at the first block below
the threshold. Three costs of it are shown: of all N blocks (what it takes to know every score, as the index does), of
the blocks that its walk visits at alpha 0.3, and of N passes that stop at their block, which the published code does
not do. With --end-to-end, images are read and forwarded for real; without, only the t-SNE and silhouettes of stored
features are timed.

The published t-SNE runs on one thread here. On scikit-learn's default, a thread per core, it can be many times slower
where other programs use the machine, which would flatter us; --default-threads shows it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from common import show
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from mmsls.scoring import layer_scores
from mmsls.scoring.rule import Rule

if TYPE_CHECKING:
    import torch

DEIT = 'deit_tiny_patch16_224'
GOLDEN = ('imagenet_groups', 'sign_digits_400')
ALPHAS = tuple(alpha / 10 for alpha in range(1, 11))
CLOCK = time.perf_counter


def published_score(features: np.ndarray, labels: np.ndarray, threads: int | None) -> float:
    """Score one block as the published code does: scikit-learn's defaults, axes scaled to [0, 1]."""
    with threadpool_limits(threads):
        plane = TSNE(n_components=2, init='pca', random_state=0).fit_transform(features)
        plane = (plane - plane.min(axis=0)) / (plane.max(axis=0) - plane.min(axis=0))
        return float(silhouette_score(plane, labels))


def published(
    features_of: Callable[[int], np.ndarray], labels: np.ndarray, depth: int, threads: int | None = 1
) -> tuple[list[float], list[float]]:
    """Return score and seconds of every block, taken one after the other with a pass of their own."""
    scores, seconds = [0.0] * depth, [0.0] * depth
    for block in reversed(range(depth)):
        start = CLOCK()
        scores[block] = published_score(features_of(block), labels, threads)
        seconds[block] = CLOCK() - start
    return scores, seconds


def visited(scores: Sequence[float], seconds: Sequence[float], alpha: float = 0.3) -> float:
    """Return the seconds of the blocks that the walk looks at: from the top to the first one below the threshold."""
    stops = [block for block, score in enumerate(scores) if score < alpha * scores[-1]] or [0]
    return sum(seconds[stops[-1] :])


def decisions(scores: Sequence[float]) -> list[tuple[int, ...]]:
    """Return the kept depths for ten alphas."""
    table = {(0, block): score for block, score in enumerate(scores)}
    return [Rule(alpha=alpha).decide(table).kept_depths for alpha in ALPHAS]


def row(name: str, seconds: float, base: float, ours: Sequence[float], theirs: Sequence[float]) -> tuple[str, ...]:
    """Return a table row: seconds, their ratio to ours, agreement with the published scores."""
    same = sum(a == b for a, b in zip(decisions(ours), decisions(theirs), strict=True))
    moved = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    return name, f'{seconds:.1f}', f'{seconds / base:.1f}x', f'{same} of {len(ALPHAS)}', f'{moved:.3f}'


def compare_on_features(path: Path, default_threads: bool) -> list[tuple[str, ...]]:
    """Time the embeddings and silhouettes alone, on stored features."""
    with np.load(path) as file:
        features, labels, golden = file['features'], file['labels'], file['scores'].tolist()
    depth = len(features)
    scores, seconds = published(lambda block: features[block], labels, depth)
    start = CLOCK()
    ours = list(layer_scores({(0, block): array for block, array in enumerate(features)}, labels).values())
    base = CLOCK() - start
    rows = [
        row(f'published, all {depth} blocks', sum(seconds), base, scores, golden),
        row('published, blocks visited', visited(scores, seconds), base, scores, golden),
        row('layer_scores', base, base, ours, golden),
    ]
    if default_threads:
        scores, seconds = published(lambda block: features[block], labels, depth, threads=None)
        rows.insert(0, row(f'published, all {depth} blocks, default threads', sum(seconds), base, scores, golden))
    return rows


def read_list(data: Path, count: int) -> tuple[list[Path], np.ndarray]:
    """Return `count` images of all classes of the sign-digit training list, and their labels."""
    folder = data / 'data' / 'sign_digits'
    lines = [line.split() for line in (folder / 'train800.txt').read_text().splitlines() if line]
    lines = lines[:: max(1, len(lines) // count)][:count]
    return [folder / name for name, _ in lines], np.array([int(label) for _, label in lines])


class Passes:
    """A ViT of timm and its images, read anew in every pass as a data loader does.

    DeiT-Tiny has its real weights; any other model has random ones, which change what is scored but not how long it
    takes.
    """

    def __init__(self, model: str, data: Path, images: Sequence[Path], batch_size: int = 32) -> None:
        import timm
        import torch
        from torchvision import transforms

        torch.manual_seed(0)
        self.model: Any = timm.create_model(model).eval()
        if model == DEIT:
            weights = data / 'data' / 'deit_tiny_in1k' / 'deit_tiny_patch16_224_pipevit.pth'
            self.model.load_state_dict(torch.load(weights, weights_only=True)['model'])
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model.to(self.device)
        self.images, self.batch_size = images, batch_size
        self.transform = transforms.Compose(
            [
                transforms.Resize(248, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def class_tokens(self, blocks: Sequence[int], truncate: bool = False) -> list[np.ndarray]:
        """Run one pass over all images and return the class tokens (n, d) after some of the blocks.

        Args:
            blocks: Which ones, from 0.
            truncate: Stop each forward after the last of them.
        """
        import torch

        kept: list[list[np.ndarray]] = [[] for _ in blocks]
        hooks = [
            self.model.blocks[block].register_forward_hook(
                lambda _, __, out, rows=rows: rows.append(out[:, 0].float().cpu().numpy())
            )
            for block, rows in zip(blocks, kept, strict=True)
        ]
        full = self.model.blocks
        if truncate:
            self.model.blocks = full[: max(blocks) + 1]
        try:
            with torch.no_grad():
                for batch in self.batches():
                    self.model(batch)
        finally:
            self.model.blocks = full
            for hook in hooks:
                hook.remove()
        return [np.concatenate(rows) for rows in kept]

    def batches(self) -> Iterator[torch.Tensor]:
        """Read, resize and stack the images."""
        import torch
        from PIL import Image

        for start in range(0, len(self.images), self.batch_size):
            files = self.images[start : start + self.batch_size]
            yield torch.stack([self.transform(Image.open(file).convert('RGB')) for file in files]).to(self.device)


def compare_end_to_end(model: str, data: Path, count: int) -> list[tuple[str, ...]]:
    """Time everything from the image files to the scores."""
    images, labels = read_list(data, count)
    passes = Passes(model, data, images)
    depth = len(passes.model.blocks)
    passes.images = images[:32]
    passes.class_tokens([0])  # the first batch warms everything up
    passes.images = images

    def n_passes(truncate: bool) -> tuple[list[float], list[float]]:
        def features_of(block: int) -> np.ndarray:
            return passes.class_tokens([block], truncate)[0]

        return published(features_of, labels, depth)

    start = CLOCK()
    features = passes.class_tokens(range(depth))
    forward = CLOCK() - start
    ours = list(layer_scores({(0, block): array for block, array in enumerate(features)}, labels).values())
    base = CLOCK() - start
    scores, seconds = n_passes(truncate=False)
    short_scores, short_seconds = n_passes(truncate=True)
    return [
        row(f'published, {depth} whole passes', sum(seconds), base, scores, scores),
        row('published, blocks visited', visited(scores, seconds), base, scores, scores),
        row(f'published, {depth} truncated passes', sum(short_seconds), base, short_scores, scores),
        row(f'one pass ({forward:.1f} s) and layer_scores', base, base, ours, scores),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / 'shared'
    parser.add_argument('--data', type=Path, default=shared, help='folder with golden/ and data/ (%(default)s)')
    parser.add_argument('--end-to-end', action='store_true', help='forward real images instead; needs timm')
    parser.add_argument(
        '--images',
        type=int,
        default=400,
        help='images of the end-to-end part, at least 91: with fewer our perplexity is below 30 (%(default)s)',
    )
    parser.add_argument('--model', default=DEIT, help='ViT of timm for the end-to-end part (%(default)s)')
    parser.add_argument('--default-threads', action='store_true', help='also time t-SNE on all cores')
    args = parser.parse_args()
    if not (args.data / 'golden').is_dir():
        parser.error(f'--data {args.data} has no folder golden/; pass the folder that holds golden/ and data/')
    header = ('procedure', 'seconds', 'ratio to ours', 'same decisions', 'scores moved by')
    if args.end_to_end:
        rows = compare_end_to_end(args.model, args.data, args.images)
        show(f'From {args.images} image files to the scores, {args.model} (bar: 10x)', header, rows)
    for name in () if args.end_to_end else GOLDEN:
        rows = compare_on_features(args.data / 'golden' / f'{name}.npz', args.default_threads)
        show(f'Embedding and silhouette of 12 blocks, {name}', header, rows)
    load = ' '.join(f'{value:.1f}' for value in os.getloadavg())
    print(f'scikit-learn {sklearn.__version__}, numpy {np.__version__}; load average of the machine {load}')


if __name__ == '__main__':
    main()
