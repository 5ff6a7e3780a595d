"""A criterion let loose on what was collected: every process of a run does its share of the blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmsls.criteria import AccuracyCriterion, Evidence
from mmsls.criteria.base import points_of
from mmsls.criteria.choosing import needs_of
from mmsls.features.labelled import seeded
from mmsls.parallel.ranks import shared_out
from mmsls.scoring import BlockId
from mmsls.scoring.resampling import Resampled, bootstraps


def block_scores(criterion: Any, evidence: Evidence) -> tuple[dict[BlockId, float], Resampled | None]:
    """Return the score of every block, and what other samples would have given, if the criterion can say it.

    Call it on every rank.

    Args:
        criterion: The criterion.
        evidence: What it looks at.

    Raises:
        Exception: Whatever the criterion raises; in every process alike where they share the blocks.
    """
    blocks, labels = list(evidence.features), evidence.labels
    if criterion.kind == 'importance':
        with seeded(evidence.seed):
            return criterion(evidence), None  # it compares blocks with each other: every process takes them all
    if needs_of(criterion) != 'features':  # every process has a share of the images, not of the blocks
        return criterion(evidence), getattr(criterion, 'resampled', None)
    if isinstance(criterion, AccuracyCriterion):
        hits = shared_out(
            lambda part: {block: criterion.hits(evidence.features[block], labels, evidence.seed) for block in part},
            blocks,
        )
        return {block: points_of(found) for block, found in hits.items()}, bootstraps(hits, seed=evidence.seed)
    return shared_out(
        lambda part: criterion(replace(evidence, features={block: evidence.features[block] for block in part})),
        blocks,
    ), None
