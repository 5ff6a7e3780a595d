"""What an index says of how sure its decision is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmsls.criteria import SLS, Probe
from mmsls.features.sureness import assured, guessing
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import Curve
from mmsls.scoring.resampling import of_half_samples

DEPTHS = (2, 2, 18, 2)
BLOCKS = [(stage, block) for stage, depth in enumerate(DEPTHS) for block in range(depth)]
SWIN = {'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': DEPTHS}


@pytest.fixture
def made():
    """An index of 24 blocks that noise moves, and the curves that other images would have given."""
    rng = np.random.default_rng(0)
    whole = rng.uniform(70, 72, len(BLOCKS))
    parts = whole + rng.normal(0, 2, (50, len(BLOCKS)))
    index = PruningIndex.create(
        scores=Curve(dict(zip(BLOCKS, whole, strict=True)), 'points'),
        backbone=SWIN,
        adapter={'type': 'mmsls.Convpass', 'rank': 8, 'scale': 1.0},
        base_sha256='0123456789abcdef' * 4,
        criterion={'type': 'Bridged'},
        provenance={'images': 101, 'chance': 0.0, 'metric': 'mIoU'},
        scope='stage',
        min_depth=1,
        max_drop=1,
    )
    return index, of_half_samples(BLOCKS, whole, parts, 50, 101)


def test_errors_and_stability_are_recorded_and_doubts_noted(made, tmp_path):
    index, resampled = made
    sure = assured(index, resampled)
    assert (sure.curve, sure.kept_depths, sure.thresholds) == (index.curve, index.kept_depths, index.thresholds)
    assert sure.provenance['stability']['drawn'] == 'half-samples'
    assert sure.provenance['drop_errors'] == resampled.drop_errors('stage')
    assert sure.provenance['stability']['stable'] is False
    assert index.note is None
    assert 'max_drop 1 is below the noise' in sure.note
    assert '(101 images)' in sure.note
    sure.save(tmp_path / 'index.json')
    assert (tmp_path / 'index.json').stat().st_size < 8 * 1024 / 2
    assert PruningIndex.load(tmp_path / 'index.json') == sure


def test_another_rule_keeps_the_errors_and_doubts_anew(made):
    sure = assured(*made)
    wide = sure.decide(max_drop=20)
    assert wide.note is None
    assert wide.provenance['drop_errors'] == sure.provenance['drop_errors']
    assert 'stability' not in wide.provenance
    assert wide.decide(max_drop=1).note == sure.note
    assert 'drop_errors' not in sure.decide(scope='model', min_depth=0).provenance


def test_nothing_is_said_where_nothing_is_known(made):
    assert assured(made[0], None) is made[0]


def test_what_guessing_reaches():
    labels = np.array([3, 3, 3, 3, 5, 5, 8])  # the single 8 does not count
    assert guessing(Probe(), labels) == {'chance': 50.0, 'commonest': 66.67}
    assert json.loads(json.dumps(guessing(Probe(), labels))) == guessing(Probe(), labels)
    assert guessing(SLS(), labels) == {}
    assert guessing(Probe(), np.arange(5)) == {}
