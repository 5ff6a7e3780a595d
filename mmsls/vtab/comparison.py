"""Models that were narrowed in the way of DepGraph, for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS as HOST_MODELS
from torch import nn

from mmsls.criteria.narrowing import shrink
from mmsls.registry import MODELS

CLASSIFIER = 'mmsls.ComparisonClassifier'


@MODELS.register_module('ComparisonClassifier')
def comparison_classifier(
    *,
    inner_widths: Sequence[Sequence[int]] | None = None,
    **cfg: Any,
) -> nn.Module:
    """Build the host's `ImageClassifier`, and narrow its backbone.

    Args:
        inner_widths: Per block, channels of a head and hidden channels of the FFN; None: the backbone's own.
        **cfg: Arguments of `ImageClassifier`.

    Raises:
        ValueError: If an argument does not fit the backbone.
    """
    model = HOST_MODELS.build({'type': 'ImageClassifier', **cfg})
    if inner_widths is not None:
        shrink(model.backbone, inner_widths)
    return model
