"""A head's last layer fitted anew in closed form, from labelled training images: no training."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader

from mmsls.backbones.bridge_fit import share_of
from mmsls.features.data_view import DataView
from mmsls.features.last_layer import HeadSamples, LinearHead
from mmsls.features.linear_heads import linear_head
from mmsls.features.records import PassRecords
from mmsls.features.trial import training_images
from mmsls.parallel.main_process import on_main_process
from mmsls.parallel.ranks import raise_first
from mmsls.runs.bridging import write_checkpoint
from mmsls.runs.building import build_model
from mmsls.runs.configs import check_checkpoint
from mmsls.runs.presence import check_presence
from mmsls.scoring.refit import HeadMap, HeadSums, Judged, applied, judge

SAMPLES, HELD = 200_000, 20_000
"""Most samples that a layer is fitted on, and of those that are kept to judge by, evenly many of each image."""


@dataclass(frozen=True)
class FittedHead:
    """How a last layer was fitted.

    Attributes:
        name: The head.
        before: What the layer was worth, at its best scale, on samples of the training images.
        after: What the new one is worth on them, each time fitted without the image.
        ridge: Regularisation that was chosen, relative to the mean variance of a feature.
        samples: How many samples it was fitted on.
    """

    name: str
    before: Judged
    after: Judged
    ridge: float
    samples: int

    @property
    def better(self) -> bool:
        """Whether the new layer has the lower cross-entropy; else the old one stays."""
        return self.after.loss < self.before.loss

    def __str__(self) -> str:
        done = 'last layer refitted' if self.better else 'last layer left as it was, since a refitted one does worse'
        return (
            f'{self.name}: {done}: right on training images {100 * self.before.accuracy:.1f} % before, '
            f'{100 * self.after.accuracy:.1f} % fitted without them ({self.samples} samples, ridge {self.ridge:g}, '
            f'scale {self.after.scale:.3g})'
        )


def refit(
    cfg: Config,
    checkpoint: str,
    out_file: str | Path,
    images: int = 5000,
    on_batch: Callable[[int, int], None] | None = None,
) -> FittedHead:
    """Fit the last layer of a model's head anew on labelled training images, and write the model's checkpoint.

    The images pass the test transform.

    Args:
        cfg: Config of the model, cut or not.
        checkpoint: Its weights.
        out_file: Where the checkpoint goes, slim where there is a frozen base.
        images: Most training images that are looked at, drawn evenly at random from all.
        on_batch: Called with (batches done, batches in all).

    Returns:
        What was fitted.

    Raises:
        ValueError: If the head's last layer is not linear, there are fewer than two labelled training images, or
            features are not finite.
        FileNotFoundError: If the checkpoint, the data or the base is not there.
    """
    checkpoint = check_checkpoint(checkpoint)
    check_presence(cfg, 'train')
    model = build_model(cfg, checkpoint)
    linear_head(model)  # refused before any image is read
    fitted = fit_head(model.to(get_device()), training_images(cfg, images), on_batch)
    on_main_process(partial(write_checkpoint, model.cpu(), checkpoint, Path(out_file)))
    return fitted


def check_refits(cfg: Config) -> None:
    """Refuse a config whose head has no linear last layer.

    Raises:
        ValueError: Naming the head.
    """
    linear_head(build_model(cfg))


@torch.no_grad()
def fit_head(model: nn.Module, loader: DataLoader, on_batch: Callable[[int, int], None] | None = None) -> FittedHead:
    """Fit the last layer of a model's head in place, where that does better than what it is.

    One pass over the images; what is kept of them are sums, and a bounded number of samples to judge by.

    Args:
        model: The model, in eval mode.
        loader: Labelled batches as `test_step` takes them; every process walks its share.
        on_batch: Called with (batches done, batches in all).

    Returns:
        What was fitted.

    Raises:
        ValueError: In every process alike; see `refit`.
    """
    images = len(loader.dataset)  # type: ignore[arg-type]
    head = linear_head(model, share_of(SAMPLES, images))
    sums, failure = HeadSums(head.layer.weight.shape[0]), None
    records = PassRecords(loader)
    try:
        collect(model, head, loader, records, sums, on_batch)
    except Exception as error:  # a process alone in this would leave the others waiting
        failure = error
    raise_first(failure)
    sums = reduce(add, all_gather_object(sums))
    solved, held = sums.solve(), sums.held()
    before = judge(applied(matrix_of(head.layer), held.features), held.labels, held.weights)
    fitted = FittedHead(head.name, before, solved.judged, solved.ridge, sums.samples)
    if fitted.better:
        take(head.layer, solved)
    print_log(str(fitted), 'current')
    return fitted


def collect(
    model: nn.Module,
    head: LinearHead,
    loader: DataLoader,
    records: PassRecords,
    sums: HeadSums,
    on_batch: Callable[[int, int], None] | None,
) -> None:
    """Add the labelled samples of every batch to the sums.

    Raises:
        ValueError: As `LinearHead.samples`, or if a feature is not finite.
    """
    view = DataView(loader.dataset, head.placed)
    kept = share_of(HELD, len(loader.dataset))  # type: ignore[arg-type]
    with head.watching() as inputs:
        for number, batch in enumerate(loader):
            outputs = model.test_step(deepcopy(batch))  # type: ignore[operator]
            found = head.samples(inputs, outputs, records.of_batch(number, len(outputs)), view)
            inputs.clear()
            sums.add(found.features, found.labels, found.images, found.weights, first_of_each(found, kept))
            if on_batch:
                on_batch(number + 1, len(loader))


def first_of_each(samples: HeadSamples, count: int) -> np.ndarray:
    """Mark the first so many samples of each image, (n,); they lie in random order."""
    marked = np.zeros(len(samples.labels), bool)
    for image in np.unique(samples.images):
        marked[np.flatnonzero(samples.images == image)[:count]] = True
    return marked


def matrix_of(layer: nn.Linear | nn.Conv2d) -> np.ndarray:
    """Return a layer as a matrix (d + 1, k), the last row its bias."""
    assert layer.bias is not None
    weight = torch.cat([layer.weight.flatten(1), layer.bias[:, None]], dim=1)
    return weight.detach().double().cpu().numpy().T


def take(layer: nn.Linear | nn.Conv2d, fitted: HeadMap) -> None:
    """Write a fitted matrix into a layer, in place."""
    assert layer.bias is not None
    weight = torch.from_numpy(np.ascontiguousarray(fitted.matrix.T))
    layer.weight.copy_(weight[:, :-1].reshape(layer.weight.shape))
    layer.bias.copy_(weight[:, -1])
