"""Layer-wise scores and the pruning rule on plain arrays: numpy and scikit-learn only, no torch and no host.

`layer_scores` turns the features of every block into one score per block, `choose_depths` turns the scores into the
number of blocks to keep in every stage. Both follow Han & Tang, *Straightforward Layer-wise Pruning for More Efficient
Visual Adaptation*, ECCV 2024 (arXiv 2407.14330).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmsls.scoring.choosing import choose_depths
from mmsls.scoring.curve import BlockId, Curve
from mmsls.scoring.rule import Rule

if TYPE_CHECKING:
    from mmsls.scoring.silhouette import layer_scores

__all__ = ['BlockId', 'Curve', 'Rule', 'choose_depths', 'layer_scores']


def __getattr__(name: str) -> Any:
    # scikit-learn takes about a second to import; a backbone that only reads a pruning index needs the rule and nothing
    # else.
    if name == 'layer_scores':
        from mmsls.scoring.silhouette import layer_scores

        return layer_scores
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
