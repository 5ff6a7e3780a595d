"""A nano Swin, pre-trained on sheets of handwritten digits without clutter: the demo's stand-in for ImageNet's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from mmsls.demo.scene_drawing import background, paint
from mmsls.environment.hosts import is_there
from mmsls.files.writing import whole_file

NANO_SWIN: dict[str, Any] = dict(embed_dims=24, depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), window_size=4)
"""What configs must repeat so that the base fits."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_GRID, _CELL = 2, 64  # digits a side of a sheet; pixels of a cell
_SIZES, _MAX_ANGLE = (34, 60), 8.0  # pixels an 8x8 digit is enlarged to; degrees
_STAGES = (2, 3)  # those that learn to tell digits apart


@dataclass(frozen=True)
class PretrainSettings:
    """How the nano Swin is pre-trained.

    Attributes:
        epochs: Passes over the 1198 training digits.
        batch_size: Digits per step, a multiple of the 4 of a sheet.
        lr: Peak learning rate of AdamW; one warm-up epoch, then a cosine to 0.
        weight_decay: Of AdamW.
        seed: Of weights, order and the look of the digits.
        max_steps: Stop after so many steps, for tests; None runs all epochs.
    """

    epochs: int = 40
    batch_size: int = 48
    lr: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0
    max_steps: int | None = None


def _host() -> str:
    """Return the toolbox whose Swin is trained; MMDetection's and MMSegmentation's are the same, to the bit."""
    return 'mmdet' if is_there('mmdet') else 'mmseg'


class _Classifier(nn.Module):
    """The official Swin; on each of its two upper stages a linear layer reads the mean token inside a digit's box."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MODELS.build(
            dict(type=f'{_host()}.SwinTransformer', **NANO_SWIN, out_indices=_STAGES, drop_path_rate=0.0)
        )
        self.backbone.init_weights()
        self.heads = nn.ModuleList(nn.Linear(self.backbone.num_features[stage], 10) for stage in _STAGES)

    def forward(self, sheets: Tensor, boxes: Tensor) -> Tensor:
        """Classify digits of sheets (n, 3, H, W) in boxes (n, 4, H, W), 1 inside, 0 outside: (stages, n * 4, 10)."""
        logits = []
        for head, tokens in zip(self.heads, self.backbone(sheets), strict=True):
            share = F.adaptive_avg_pool2d(boxes, tokens.shape[-2:])
            share = share / share.sum((2, 3), keepdim=True)
            logits.append(head(torch.einsum('ndhw,nchw->ndc', share, tokens)).flatten(0, 1))
        return torch.stack(logits)


def pretrain_nano_swin(path: str | Path, settings: PretrainSettings | None = None) -> float:
    """Pre-train a nano Swin on sheets of 2x2 digits, light on dark, unless ``path`` holds the same base already.

    The training digits are those of the training scenes' pool, so no digit of a val or test scene is ever seen. The
    file is an ordinary OpenMMLab checkpoint: ``state_dict`` holds the backbone alone, without output norms, as ImageNet
    bases do. It is written to a neighbour and renamed, so it is whole or absent.

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
    print_log(f'nano Swin: accuracy {accuracy:.1%} on unseen digits', logger='current')
    save_base(model.backbone, path, dict(settings=asdict(settings), accuracy=accuracy))
    return accuracy


def digit_sheets(pool: DigitPool, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw sheets of 2x2 digits in the colours of the scenes, without clutter, each digit anywhere in its cell.

    Args:
        pool: Where the digits come from.
        rows: Which ones, (n, 4).
        rng: Colours, sizes and places.

    Returns:
        Normalised sheets, (n, 3, 128, 128), and the digits' boxes, (n, 4, 128, 128), 1 inside and 0 outside.
    """
    side = _GRID * _CELL
    boxes = np.zeros((*rows.shape, side, side), np.float32)
    pictures = []
    for sheet, row in enumerate(rows):
        canvas = background((side, side), 0, rng)
        for cell, number in enumerate(row):
            glyph, place = _in_cell(pool.images[number], cell, rng)
            opacity = np.zeros((side, side), np.float32)
            opacity[place], boxes[(sheet, cell, *place)] = glyph, 1
            canvas = paint(canvas, opacity, rng)
        pictures.append(np.clip(canvas, 0, 255).astype(np.float32))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1), torch.from_numpy(boxes)


def _in_cell(ink: np.ndarray, cell: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Enlarge and turn a digit at random, and find it a place in its cell: the glyph and its rows and columns."""
    size, angle = int(rng.integers(*_SIZES, endpoint=True)), float(rng.uniform(-_MAX_ANGLE, _MAX_ANGLE))
    glyph = render_digit(ink, size, angle)[:_CELL, :_CELL]
    top, left = (
        corner * _CELL + int(rng.integers(_CELL - length + 1))
        for corner, length in zip(divmod(cell, _GRID), glyph.shape, strict=True)
    )
    return glyph, (slice(top, top + glyph.shape[0]), slice(left, left + glyph.shape[1]))


def _train(model: nn.Module, pool: DigitPool, settings: PretrainSettings) -> None:
    """Run the training loop, logging every epoch."""
    steps = len(pool.labels) // settings.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.epochs * steps, pct_start=1 / settings.epochs
    )
    model.train()
    count = min(settings.epochs * steps, settings.max_steps or settings.epochs * steps)
    for step, (sheets, boxes, target) in enumerate(_batches(pool, count, settings)):
        logits = model(sheets, boxes)
        loss = torch.stack([F.cross_entropy(stage, target) for stage in logits]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        if (step + 1) % steps == 0:
            print_log(f'nano Swin: epoch {(step + 1) // steps}/{settings.epochs}, loss {loss.item():.3f}', 'current')


def _batches(pool: DigitPool, count: int, settings: PretrainSettings) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield sheets, boxes and the digits' labels, the next batch drawn while the model learns from this one."""
    rng = np.random.default_rng(settings.seed)
    steps = len(pool.labels) // settings.batch_size
    order: np.ndarray = np.empty(0, int)

    def drawn(step: int) -> tuple[Tensor, Tensor, Tensor]:
        nonlocal order
        if step % steps == 0:
            order = rng.permutation(len(pool.labels))[: steps * settings.batch_size].reshape(steps, -1, _GRID**2)
        rows = order[step % steps]
        return *digit_sheets(pool, rows, rng), torch.from_numpy(pool.labels[rows]).flatten()

    with ThreadPoolExecutor(1) as drawer:
        following = drawer.submit(drawn, 0)
        for step in range(count):
            batch = following.result()
            if step + 1 < count:
                following = drawer.submit(drawn, step + 1)
            yield batch


@torch.no_grad()
def _accuracy(model: nn.Module, pool: DigitPool) -> float:
    """Measure the share of right answers of both stages together on one drawing of every digit."""
    model.eval()
    rows = np.arange(len(pool.labels) // _GRID**2 * _GRID**2).reshape(-1, _GRID**2)
    sheets, boxes = digit_sheets(pool, rows, np.random.default_rng(0))
    parts = zip(sheets.split(25), boxes.split(25), strict=True)
    answers = torch.cat([model(*part).sum(0).argmax(1) for part in parts])
    return (answers == torch.from_numpy(pool.labels[rows]).flatten()).float().mean().item()


def save_base(backbone: nn.Module, path: Path, meta: dict[str, Any]) -> None:
    """Write the backbone without its output norm, whole or not at all."""
    state = {key: value for key, value in backbone.state_dict().items() if not key.startswith('norm')}
    # To an open file: by its name torch.save would write other bytes, and the base another SHA-256, at every call.
    with whole_file(path) as partial, partial.open('wb') as file:
        torch.save(dict(meta=meta, state_dict=state), file)
