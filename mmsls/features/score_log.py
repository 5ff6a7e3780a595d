"""The scores and what was decided, in words for the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mmengine.logging import print_log

from mmsls.pruning_index import PruningIndex
from mmsls.scoring import BlockId
from mmsls.scoring.stability import stability_line


def log_scores(scores: Mapping[BlockId, float], index: PruningIndex | None, unit: str = 'silhouette') -> None:
    """Log every block's score and, where there is one, the decision; a reason why nothing was pruned is a warning."""
    stages = sorted({stage for stage, _ in scores})
    rows = [
        f'  stage {stage}: ' + ' '.join(f'{score:+.3f}' for (of, _), score in sorted(scores.items()) if of == stage)
        for stage in stages
    ]
    print_log('\n'.join([f'SLS: {unit} of every block', *rows]), 'current')
    if index is None:
        return
    depths = tuple(index.backbone['depths'])
    print_log(f'SLS: kept_depths {index.kept_depths} of {depths} ({index.told})', 'current')
    if index.subset:
        print_log(f'SLS: kept (stage, block): {list(index.subset)}', 'current')
    if index.borderline:
        print_log(
            f'SLS: borderline, within {index.rule.margin:g} of their threshold: '
            f'(stage, block) {list(index.borderline)}',
            'current',
        )
    if line := stability_line(index.provenance.get('stability')):
        print_log(f'SLS: {line}', 'current')
    if index.note:
        print_log(f'SLS: {index.note}', 'current', logging.WARNING)
