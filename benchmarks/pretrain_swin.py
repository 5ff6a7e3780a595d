"""Make configs/bccd's small Swin base by classification: 31 classes of 3 small data sets, 6 minutes on 2 cores."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import MMLogger, print_log
from mmengine.registry import MODELS
from small_images import NUM_CLASSES, Source, sources
from torch import Tensor, nn
from torch.nn import functional as F

import mmsls.integrations.mmdet  # noqa: F401
from mmsls.cli import one_line_errors, path_argument
from mmsls.demo.nano_swin import save_base

SMALL_SWIN: dict[str, Any] = {
    'embed_dims': 32,
    'depths': (2, 2, 6, 2),
    'num_heads': (1, 2, 4, 8),
    'window_size': 7,
}
"""What configs must repeat so that the base fits."""


@dataclass(frozen=True)
class SmallSwinSettings:
    """How the small Swin is pre-trained.

    Attributes:
        steps: Optimisation steps.
        batch_size: Images per step, in equal parts of every source.
        lr: Peak learning rate of AdamW; 10 % warm-up, then a cosine to 0.
        weight_decay: Of AdamW.
        seed: Of weights and images.
    """

    steps: int = 600
    batch_size: int = 48
    lr: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


class _Classifier(nn.Module):
    """The Swin, an average pool and a linear layer over the classes of all sources."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = MODELS.build(
            {'type': 'mmdet.PrunedSwinTransformer', **SMALL_SWIN, 'out_indices': (3,), 'drop_path_rate': 0.05}
        )
        self.backbone.init_weights()
        self.head = nn.Linear(self.backbone.num_features[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[0].mean((2, 3)))


def pretrain_small_swin(
    path: str | Path, data_root: str | Path, settings: SmallSwinSettings | None = None
) -> dict[str, float]:
    """Pre-train a small Swin on digits, sign-language digits and street-scene patches, unless ``path`` holds it.

    One softmax over 31 classes: scikit-learn's bundled digits (10), hands of the Sign Language Digits data set (10),
    and CamVid patches by their dominant class (11). Training splits only.

    Args:
        path: File of the base, an ordinary OpenMMLab checkpoint without output norms. It is whole or absent.
        data_root: Folder with ``sign_digits`` and ``camvid``.
        settings: How to train.

    Returns:
        Accuracy by source on its val split, 0 to 1.

    Raises:
        FileNotFoundError: If a data set is not there.
    """
    path, settings = Path(path), settings or SmallSwinSettings()
    if path.is_file():
        meta = torch.load(path, map_location='cpu', weights_only=True).get('meta', {})
        if meta.get('settings') == asdict(settings):
            return meta['accuracy']
    torch.manual_seed(settings.seed)
    model = _Classifier(NUM_CLASSES)
    _train(model, sources(data_root, 'train'), settings)
    accuracy = {name: _accuracy(model, source) for name, source in sources(data_root, 'val').items()}
    shares = ', '.join(f'{name} {share:.0%}' for name, share in accuracy.items())
    print_log(f'small Swin: accuracy on val splits: {shares}', 'current')
    save_base(model.backbone, path, {'settings': asdict(settings), 'accuracy': accuracy})
    return accuracy


def _train(model: nn.Module, drawn: Mapping[str, Source], settings: SmallSwinSettings) -> None:
    """Run the training loop, logging every twentieth of it."""
    rng = np.random.default_rng(settings.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=settings.steps, pct_start=0.1)
    period = max(1, settings.steps // 20)
    losses: list[float] = []
    model.train()
    for step in range(1, settings.steps + 1):
        parts = [draw(settings.batch_size // len(drawn), rng) for draw in drawn.values()]
        images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if step % period == 0:
            print_log(f'small Swin: step {step}/{settings.steps}, loss {np.mean(losses[-period:]):.3f}', 'current')


@torch.no_grad()
def _accuracy(model: nn.Module, draw: Source) -> float:
    """Measure the share of right answers on 300 images."""
    model.eval()
    images, labels = draw(300, np.random.default_rng(0))
    answers = torch.cat([model(batch).argmax(1) for batch in images.split(100)])
    return (answers == labels).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data-root', type=path_argument, default='../shared/data', help='folder with sign_digits and camvid'
    )
    parser.add_argument('--out', type=path_argument, default='work_dirs/bccd_base/small_swin.pth', help='the base')
    parser.add_argument('--steps', type=int, default=SmallSwinSettings.steps)
    parser.add_argument('--seed', type=int, default=SmallSwinSettings.seed)
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f'--steps must be at least 1, got {args.steps}')
    MMLogger.get_instance('mmsls')
    pretrain_small_swin(args.out, args.data_root, SmallSwinSettings(steps=args.steps, seed=args.seed))


if __name__ == '__main__':
    with one_line_errors():
        main()
