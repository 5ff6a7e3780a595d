"""The scores in words."""

from __future__ import annotations

import logging

import pytest

from mmsls.features import score_log
from mmsls.pruning_index import PruningIndex

SCORES = {(0, 0): 0.1, (0, 1): -0.25, (1, 0): 0.5}
SWIN = {'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': (2, 1)}


@pytest.fixture
def said(monkeypatch):
    """What is logged: (text, level)."""
    lines = []
    monkeypatch.setattr(score_log, 'print_log', lambda text, _, level=logging.INFO: lines.append((text, level)))
    return lines


def test_every_block_is_named_and_nothing_else_without_an_index(said):
    score_log.log_scores(SCORES, None, 'accuracy')
    assert said == [
        ('SLS: accuracy of every block\n  stage 0: +0.100 -0.250\n  stage 1: +0.500', logging.INFO),
    ]


def test_why_nothing_was_pruned_is_a_warning(said):
    index = PruningIndex.create(scores={**SCORES, (1, 0): -0.5}, backbone=SWIN)
    score_log.log_scores(index.scores, index)
    assert any('kept_depths (2, 1) of (2, 1) (alpha 0.3, scope model)' in text for text, _ in said)
    assert said[-1] == (f'SLS: {index.note}', logging.WARNING)
