"""What depths cost, beside an index: bounded, and no reason to lose a run."""

from __future__ import annotations

import pytest

from mmsls.cost.by_depth import NAME, DepthCosts
from mmsls.pruning_index import PruningIndex
from mmsls.runs import leaving_costs
from mmsls.runs.leaving_costs import depths_of, leave_costs

SWIN = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': (2, 2, 3, 2)}


@pytest.fixture
def index(tmp_path):
    values = (0.1, 0.3, 0.1, 0.4, 0.1, 0.3, 0.5, 0.4, 0.5)
    blocks = [(stage, block) for stage, depth in enumerate(SWIN['depths']) for block in range(depth)]
    found = PruningIndex.create(
        scores=dict(zip(blocks, values, strict=True)), backbone=SWIN, scope='stage', min_depth=1, alpha=0.5
    )
    found.save(tmp_path / 'pruning_index.json')
    return found


def test_a_detector_is_measured_once(detector_cfg, tmp_path, index, monkeypatch):
    cfg, path = detector_cfg(tmp_path), tmp_path / 'pruning_index.json'
    monkeypatch.setattr(leaving_costs, 'MOST', 3)
    leave_costs(cfg, path)
    costs = DepthCosts.load(tmp_path / NAME, index.backbone)
    assert costs.at(index.kept_depths) is not None
    assert len(costs.rows) <= 4
    before = (tmp_path / NAME).stat().st_mtime_ns
    leave_costs(cfg, path, again=False)
    assert (tmp_path / NAME).stat().st_mtime_ns == before


def test_what_takes_too_long_is_not_measured(detector_cfg, tmp_path, index, monkeypatch, said):
    monkeypatch.setattr(leaving_costs, 'SECONDS', 0.0)
    leave_costs(detector_cfg(tmp_path), tmp_path / 'pruning_index.json')
    assert not (tmp_path / NAME).exists()
    assert 'takes too long' in said[-1]


def test_what_fails_is_said(detector_cfg, tmp_path, index, said):
    leave_costs(detector_cfg(tmp_path), tmp_path / 'pruning_index.json', checkpoint=str(tmp_path / 'no.pth'))
    assert 'what the depths cost is not measured: ' in said[-1]


def test_what_was_decided_comes_first_and_the_rest_is_spread(index):
    assert depths_of(index, 1) == [index.kept_depths]
    assert len(depths_of(index, 5)) == len(set(depths_of(index, 5))) <= 5
    assert set(depths_of(index, 2)) <= set(depths_of(index, 100))
