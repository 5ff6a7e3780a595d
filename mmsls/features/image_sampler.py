"""Classification: one sample per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from mmsls.backbones.tokens import BlockTokens
from mmsls.features.ground_truth import image_name
from mmsls.features.recorder import BlockPass
from mmsls.features.records import Record
from mmsls.features.samplers import DataSampler, Sample, single_pass
from mmsls.scoring import BlockId

POOLS = ('auto', 'class_token', 'mean')


class ImageSampler(DataSampler):
    """Classification: one sample per image, its class as the label.

    The feature is the class token of the block's output, before any norm that follows the last block; where the
    backbone has none (Swin), the mean of the image tokens, after the stage's patch merging (Han & Tang, ECCV 2024).

    Args:
        pool: `'auto'` as above; `'class_token'` demands a class token; `'mean'` averages the image tokens always.

    Raises:
        ValueError: If `pool` is anything else.
    """

    name, unit, placed = 'ImageSampler', 'images', False
    default_scope, default_split = 'model', 'train'
    after_merging = True
    """Its tokens are those that leave the stage's patch merging; asked by `BlockScorer`."""

    def __init__(self, pool: Literal['auto', 'class_token', 'mean'] = 'auto') -> None:
        if pool not in POOLS:
            raise ValueError(f'pool={pool!r} must be one of {POOLS}')
        super().__init__()
        self.pool = pool

    def __call__(self, passes: list[BlockPass], data_samples: Sequence[Any], records: Sequence[Record]) -> list[Sample]:
        """Sample every image of a batch.

        Args:
            passes: What the recorder took; one pass.
            data_samples: The batch's `DataSample`s as `val_step` / `test_step` return them, with `gt_label`.
            records: Which records they are.

        Raises:
            ValueError: If an image has no label or several, a demanded class token is absent, or more or fewer than one
                pass was recorded.
        """
        blocks = single_pass(passes, len(data_samples))
        features = {block: self._pooled(block, tokens) for block, tokens in blocks.items()}
        samples = []
        new = self.new(data_samples, records)
        for row, (item, record) in enumerate(zip(data_samples, records, strict=True)):
            if not new[row]:
                self.count_repeated(record, 1)
            else:
                self.counts.add(1, Counter())
                rows = {block: values[row] for block, values in features.items()}
                samples.append(Sample((*record, 0), label_of(item, record), rows))
        return samples

    def check(self, data_sample: Any) -> None:
        """Refuse an image without exactly one class.

        Raises:
            ValueError: If it has none, or several.
        """
        label_of(data_sample)

    def _pooled(self, block: BlockId, recorded: BlockTokens) -> np.ndarray:
        """Return one feature per image, (B, C) float32, whatever the precision of the tokens."""
        extra = recorded.extra_tokens
        if self.pool == 'class_token' and extra is None:
            raise ValueError(f"pool='class_token', but block {block} has no class token: set pool='mean' or 'auto'")
        pooled: Tensor = recorded.tokens.float().mean(dim=1)
        if extra is not None and self.pool != 'mean':
            pooled = extra[:, 0].float()
        return pooled.cpu().numpy()


def label_of(data_sample: Any, record: Record | None = None) -> int:
    """Return the class of an image.

    Raises:
        ValueError: If it has none, or several.
    """
    label = data_sample.get('gt_label')
    if label is None or label.numel() != 1:
        found = 'no gt_label' if label is None else f'{label.numel()} labels'
        raise ValueError(
            f'{image_name(data_sample.metainfo, record)} comes with {found}; scoring needs exactly one class per '
            'image: score a labelled split of a single-label data set'
        )
    return int(label)
