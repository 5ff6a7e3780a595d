"""Costs by depth: measured on a real detector, and kept in a file that is checked field by field."""

from __future__ import annotations

import json

import pytest

from mmsls.cost.by_depth import DepthCost, DepthCosts, built, measure, sharing
from mmsls.cost.complexity import count_parameters

SWIN = {'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': [2, 2, 6, 2]}
ROWS = (DepthCost((2, 2, 6, 2), 100, 1000, 0.02), DepthCost((2, 2, 3, 1), 60, 700, 0.01))
COSTS = DepthCosts(SWIN, 'a machine', 1, (224, 320), 'epoch_1.pth', ROWS)


def test_a_detector_at_three_depths(detector_cfg, tmp_path):
    cfg = detector_cfg(tmp_path, backbone={'kept_depths': (1, 1, 1, 1)})
    costs = measure(cfg, [(2, 2, 2, 1), [1, 1, 1, 1]], repeats=2)
    assert [row.kept_depths for row in costs.rows] == [(2, 2, 3, 2), (2, 2, 2, 1), (1, 1, 1, 1)]
    assert costs.full.parameters == count_parameters(built(cfg, None)).total
    for name in ('parameters', 'macs'):
        values = [getattr(row, name) for row in costs.rows]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3
    assert all(row.seconds > 0 for row in costs.rows)
    assert costs.image == (64, 64)
    assert (costs.backbone['embed_dims'], costs.weights, costs.threads) == (8, '', 1)
    assert cfg.model.backbone.kept_depths == (1, 1, 1, 1)
    costs.save(tmp_path / 'depth_costs.json')
    assert DepthCosts.load(tmp_path / 'depth_costs.json') == costs


def test_the_models_share_their_weights(detector_cfg, tmp_path):
    cfg = detector_cfg(tmp_path)
    whole, cut = built(cfg, None), built(cfg, (2, 1, 1, 1))
    theirs = {parameter.data_ptr() for parameter in whole.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in cut.parameters()}
    assert {parameter.data_ptr() for parameter in sharing(cut, whole).parameters()} < theirs


def test_a_depth_that_does_not_fit_is_refused(detector_cfg, tmp_path):
    with pytest.raises(ValueError, match='kept_depths'):
        measure(detector_cfg(tmp_path), [(2, 2, 4, 2)])


def test_what_was_not_measured_is_not_known():
    assert COSTS.at([2, 2, 3, 1]) == ROWS[1]
    assert COSTS.at((2, 2, 3, 2)) is None
    assert 'a machine, 1 threads, epoch_1.pth' in COSTS.told


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'format': 'other'}, 'format is'),
        ({'version': 2}, 'version is 2; it must be 1'),
        ({'machine': 3}, 'machine is 3'),
        ({'threads': 0}, 'threads is 0'),
        ({'image': [224]}, 'image is'),
        ({'rows': []}, 'rows is'),
        ({'more': 1}, 'exactly the fields'),
        ({'backbone': {'type': 'x'}}, 'backbone is'),
    ],
)
def test_a_wrong_field_is_named(tmp_path, changes, told):
    COSTS.save(tmp_path / 'costs.json')
    content = json.loads((tmp_path / 'costs.json').read_text()) | changes
    (tmp_path / 'costs.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf'costs\.json: .*{told}.*; remove the file, and measure anew'):
        DepthCosts.load(tmp_path / 'costs.json')


@pytest.mark.parametrize(
    ('number', 'changes', 'told'),
    [
        (1, {'seconds': 0}, r'rows\[1\]\.seconds is 0'),
        (1, {'seconds': 'NaN'}, r'rows\[1\]\.seconds'),
        (1, {'macs': 1.5}, r'rows\[1\]\.macs is 1\.5'),
        (1, {'kept_depths': [2, 2, 7, 2]}, r'rows\[1\]\.kept_depths is \[2, 2, 7, 2\]; it must fit'),
        (1, {'kept_depths': [12]}, 'it must fit'),
        (1, {'kept_depths': [2, 2, 6, 2]}, 'twice'),
        (0, {'kept_depths': [2, 2, 6, 1]}, r'rows\[0\]\.kept_depths'),
    ],
)
def test_a_wrong_row_is_named(tmp_path, number, changes, told):
    COSTS.save(tmp_path / 'costs.json')
    content = json.loads((tmp_path / 'costs.json').read_text())
    content['rows'][number] |= changes
    (tmp_path / 'costs.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        DepthCosts.load(tmp_path / 'costs.json')


def test_costs_of_another_backbone_are_refused(tmp_path):
    COSTS.save(tmp_path / 'costs.json')
    assert DepthCosts.load(tmp_path / 'costs.json', SWIN) == COSTS
    with pytest.raises(ValueError, match=r'backbone\.embed_dims is 96, but 128 in the index'):
        DepthCosts.load(tmp_path / 'costs.json', {**SWIN, 'embed_dims': 128})
