"""A nano Swin, pre-trained on single handwritten digits: the demo's stand-in for an ImageNet base."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmsls.demo.digits import DigitPool, load_digit_pools, render_digit

NANO_SWIN: dict[str, Any] = dict(embed_dims=24, depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), window_size=4)
"""What configs must repeat so that the base fits."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_CANVAS, _SIZES, _JITTER = 48, (26, 44), 2  # pixels


@dataclass(frozen=True)
class PretrainSettings:
    """How the nano Swin is pre-trained.

    Attributes:
        epochs: Passes over the 1198 training digits.
        batch_size: Images per step.
        lr: Peak learning rate of AdamW; one warm-up epoch, then a cosine to 0.
        weight_decay: Of AdamW.
        seed: Of weights, order and the look of the digits.
        max_steps: Stop after so many steps, for tests; None runs all epochs.
    """

    epochs: int = 16
    batch_size: int = 48
    lr: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0
    max_steps: int | None = None


class _Classifier(nn.Module):
    """The official Swin, an average pool and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MODELS.build(
            dict(type='mmdet.SwinTransformer', **NANO_SWIN, out_indices=(3,), drop_path_rate=0.05)
        )
        self.backbone.init_weights()
        self.head = nn.Linear(self.backbone.num_features[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[0].mean((2, 3)))


def pretrain_nano_swin(path: str | Path, settings: PretrainSettings | None = None) -> float:
    """Pre-train a nano Swin on single digits, white on black, unless ``path`` holds the same base already.

    The training digits are those of the training scenes' pool, so no digit of a val or test scene is ever seen. The file is an
    ordinary OpenMMLab checkpoint: ``state_dict`` holds the backbone alone, without output norms, as ImageNet bases do. It
    is written to a neighbour and renamed, so it is whole or absent.

    Args:
        path: File of the base.
        settings: How to train; the demo's defaults where left out.

    Returns:
        Accuracy on the val pool's digits, 0 to 1, in the look of the training.
    """
    path, settings = Path(path), settings or PretrainSettings()
    if path.is_file():
        meta = torch.load(path, map_location='cpu', weights_only=True).get('meta', {})
        if meta.get('settings') == asdict(settings):
            return meta['accuracy']
    torch.manual_seed(settings.seed)
    pools, model = load_digit_pools(), _Classifier()
    _train(model, pools['train'], settings)
    accuracy = _accuracy(model, pools['val'])
    print_log(f'nano Swin: accuracy {accuracy:.1%} on unseen single digits', logger='current')
    _save(model.backbone, path, dict(settings=asdict(settings), accuracy=accuracy))
    return accuracy


def single_digits(pool: DigitPool, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Draw digits alone, white on black, roughly centred, of several sizes; normalised, shape (n, 3, 48, 48)."""
    canvas = np.zeros((len(rows), _CANVAS, _CANVAS), np.float32)
    for image, row in zip(canvas, rows, strict=True):
        glyph = render_digit(pool.images[row], int(rng.integers(*_SIZES, endpoint=True)))[:_CANVAS, :_CANVAS]
        shift = rng.integers(-_JITTER, _JITTER, 2, endpoint=True)
        top, left = (
            int(np.clip((_CANVAS - side) // 2 + by, 0, _CANVAS - side))
            for side, by in zip(glyph.shape, shift, strict=True)
        )
        image[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
    pixels = torch.from_numpy(canvas * 255)[:, None]
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _train(model: nn.Module, pool: DigitPool, settings: PretrainSettings) -> None:
    """Run the training loop, logging every epoch."""
    rng = np.random.default_rng(settings.seed)
    steps = math.ceil(len(pool.labels) / settings.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.epochs * steps, pct_start=1 / settings.epochs
    )
    model.train()
    for step in range(min(settings.epochs * steps, settings.max_steps or settings.epochs * steps)):
        if step % steps == 0:
            batches = np.array_split(rng.permutation(len(pool.labels)), steps)
        rows = batches[step % steps]
        logits = model(single_digits(pool, rows, rng))
        loss = F.cross_entropy(logits, torch.from_numpy(pool.labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        if (step + 1) % steps == 0:
            print_log(f'nano Swin: epoch {(step + 1) // steps}/{settings.epochs}, loss {loss.item():.3f}', 'current')


@torch.no_grad()
def _accuracy(model: nn.Module, pool: DigitPool) -> float:
    """Measure the share of right answers on one drawing of every digit."""
    model.eval()
    images = single_digits(pool, np.arange(len(pool.labels)), np.random.default_rng(0))
    answers = torch.cat([model(batch).argmax(1) for batch in images.split(100)])
    return (answers == torch.from_numpy(pool.labels)).float().mean().item()


def _save(backbone: nn.Module, path: Path, meta: dict[str, Any]) -> None:
    """Write the backbone without its output norm, whole or not at all."""
    state = {key: value for key, value in backbone.state_dict().items() if not key.startswith('norm')}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.partial')
    torch.save(dict(meta=meta, state_dict=state), partial)
    os.replace(partial, path)
