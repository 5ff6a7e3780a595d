"""What every sampler shares: it turns the recorded tokens of a batch into labelled features; one sampler per task.

A sampler sees what a validation loop has after each iteration: the recorded passes and the data samples that the model
returned. It knows neither the model nor the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mmsls.features.keys import Key
from mmsls.features.recorder import BlockPass
from mmsls.scoring import BlockId


@dataclass(frozen=True)
class Sample:
    """One labelled point for the scores.

    Attributes:
        key: Image path and number within the image; the same sample has the same key in every process.
        label: Class index.
        features: Per block a vector (C,), float32.
    """

    key: Key
    label: int
    features: dict[BlockId, np.ndarray]


class Sampler(Protocol):
    """What makes samples of one batch.

    Attributes:
        name: What the pruning index records.
        default_scope: Scope of the rule where none is set: `'model'` or `'stage'`.
        default_split: Split that is scored where none is named: `'train'` or `'val'`.
    """

    name: str
    default_scope: str
    default_split: str

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Any]) -> list[Sample]:
        """Return the samples of one batch, given the recorded passes, the data samples that the model returned, and whose records they are."""

    def check(self, data_sample: Any) -> None:
        """Refuse an image whose ground truth is absent or wrong, before the host's own metric stumbles over it."""


def single_pass(passes: list[BlockPass], batch_size: int) -> BlockPass:
    """Return the only pass of a batch.

    Raises:
        ValueError: If the backbone ran never or more than once, or on another number of images.
    """
    if not passes:
        raise ValueError('no forward of the backbone was recorded for this batch: attach the FeatureRecorder before it')
    if len(passes) > 1:
        raise ValueError(
            f'the backbone ran {len(passes)} times for one batch, as test-time augmentation does, so its tokens have '
            'no single place in the image: score without --tta (tta_model, tta_pipeline), or test without SLSHook'
        )
    for block, recorded in passes[0].items():
        batch, length = recorded.tokens.shape[:2]
        height, width = recorded.hw_shape
        if batch != batch_size or length != height * width:
            raise ValueError(
                f'block {block} gave {batch} images of {length} tokens for {batch_size} data samples and a grid of '
                f'{height} x {width}: the backbone sees other images than the data samples describe'
            )
    return passes[0]


def weighted_means(tokens: Tensor, weights: np.ndarray) -> np.ndarray:
    """Average tokens with each row of weights, in float32 whatever the precision of the tokens.

    Args:
        tokens: (L, C), any float type and device.
        weights: (N, H, W) with H * W = L.

    Returns:
        (N, C) float32.
    """
    flat = torch.from_numpy(weights).flatten(1)
    # Only tokens that some instance uses enter: cheaper, and the sum does not depend on how far the batch was padded.
    used = flat.any(dim=0).nonzero().squeeze(1)
    chosen = tokens.detach()[used.to(tokens.device)].float()
    with torch.autocast(tokens.device.type, enabled=False):
        return (flat[:, used].to(tokens.device) @ chosen).cpu().numpy()
