"""Choosing from one index by every kind of target, as a user calls the tool."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmsls import runs
from mmsls.cost.by_depth import DepthCost, DepthCosts
from mmsls.pruning_index import PruningIndex
from mmsls.scoring.curve import Curve

TOOL = Path(__file__).resolve().parents[2] / 'tools/decide.py'
SWIN = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': (2, 2, 3, 2)}
STAGES = [[60.0, 70.0], [66.0, 70.0], [50.0, 69.5, 70.0], [68.0, 70.0]]
ABOUT = {'dataset': 'CocoDataset(val.json)', 'split': 'val', 'images': 7, 'checkpoint': 'epoch_2.pth'}
PATHS = [(2, 2, 3, 2), (2, 2, 2, 2), (2, 2, 2, 1), (2, 1, 2, 1), (1, 1, 2, 1), (1, 1, 1, 1)]


@pytest.fixture
def path(tmp_path):
    """An index in points whose rule keeps the whole model but for one block."""
    index = PruningIndex.create(
        scores=Curve.from_lists(STAGES, 'points'),
        backbone=SWIN,
        criterion={'type': 'LinearProbe'},
        provenance={**ABOUT, 'stability': {'stable': True}},
        scope='stage',
        min_depth=1,
        max_drop=1,
    )
    index.save(tmp_path / 'pruning_index.json')
    return tmp_path / 'pruning_index.json'


@pytest.fixture
def costs(path):
    """Costs beside it: a million parameters and a tenth of the time for every block that goes."""
    gone = [9 - sum(kept) for kept in PATHS]
    rows = [DepthCost(kept, 10**7 - n * 10**6, 10**9, 0.1 - n * 0.01) for kept, n in zip(PATHS, gone, strict=True)]
    found = DepthCosts({**SWIN, 'depths': [2, 2, 3, 2]}, 'a machine', 1, (64, 96), 'epoch_2.pth', tuple(rows))
    found.save(path.with_name('depth_costs.json'))
    return path.with_name('depth_costs.json')


@pytest.fixture
def decide(path, capsys, monkeypatch):
    """A function that calls the tool and returns what it printed and the index it left; a refusal's text alone."""

    def run(*arguments: object) -> tuple[str, PruningIndex]:
        monkeypatch.setattr(sys, 'argv', ['decide.py', str(path), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return ' '.join(capsys.readouterr().out.split()), PruningIndex.load(path)

    return run


@pytest.fixture
def refused(decide, path, capsys):
    """A function that calls the tool and returns its one line of refusal; the index stays as it was."""

    def run(*arguments: object) -> str:
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(SystemExit) as error:
            decide(*arguments)
        assert (path.read_bytes() if path.is_file() else None) == before
        assert not [file for file in path.parent.iterdir() if file.name.startswith('.')]
        line = str(error.value.code) if isinstance(error.value.code, str) else capsys.readouterr().err.splitlines()[-1]
        assert '\n' not in line
        return line

    return run


def test_the_table_shows_all_and_changes_nothing(decide, path, costs):
    before = path.read_bytes()
    said, index = decide()
    for kept in PATHS:
        assert '-'.join(map(str, kept)) in said
    for text in ('* │ 2-2-2-2', 'max_drop 2', 'is as it was', 'scored on 7 images of CocoDataset(val.json), split val'):
        assert text in said
    assert 'LinearProbe' in said
    assert 'measured on one test image of 64 x 96 on a machine, 1 threads, epoch_2.pth' in said
    assert path.read_bytes() == before
    assert index.chosen is None


def test_without_costs_the_table_says_how_to_have_them(decide):
    said, _ = decide()
    assert 'costs: not known; --config CONFIG measures every depth' in said
    assert 'GMACs' not in said


@pytest.mark.parametrize(
    ('wish', 'kept'),
    [
        (('--max-drop', 2), (2, 2, 2, 1)),
        (('--alpha', 0.95), (2, 2, 2, 1)),
        (('--max-drop', 20, '--min-depth', 2), (2, 2, 2, 2)),
        (('--scope', 'model'), (2, 0, 0, 0)),
    ],
)
def test_the_rule_anew(decide, wish, kept):
    said, index = decide(*wish)
    assert index.kept_depths == kept
    assert index.chosen is None
    assert 'before: (2, 2, 2, 2), max_drop 1 points, scope stage' in said
    assert 'stability' not in index.provenance


def test_by_hand(decide):
    said, index = decide('--depths', '1,2,3,1')
    assert (index.kept_depths, index.chosen.by) == ((1, 2, 3, 1), 'hand')
    assert index.rule.max_drop == 1
    for text in ('1-2-3-1 │ by hand │ 60.00 │ 10.00', 'blocks: by hand', 'has 60 there, 10 below the best'):
        assert text in said
    again, index = decide('--max-drop', 1)
    assert index.kept_depths == (2, 2, 2, 2)
    assert 'before: (1, 2, 3, 1), by hand' in again


@pytest.mark.parametrize(('most', 'kept', 'reached'), [('8M', (2, 2, 2, 1), 8e6), ('7.5e6', (2, 1, 2, 1), 7e6)])
def test_by_parameters(decide, costs, most, kept, reached):
    said, index = decide('--max-params', most)
    assert index.kept_depths == kept
    assert (index.chosen.by, index.chosen.reached, index.chosen.met) == ('max_params', reached, True)
    assert f'reached: {reached:,.0f} parameters' in said
    assert index.decide(max_drop=index.max_drop).kept_depths == kept


def test_by_what_is_lost_with_errors(decide, path, refused):
    assert 'sure asks for standard errors' in refused('--sure')
    index = PruningIndex.load(path)
    index.knowing(drop_errors=[[1.5, 0.0], [0.2, 0.0], [0.4, 0.6, 0.0], [0.1, 0.0]]).save(path)
    said, found = decide('--sure')
    assert (found.kept_depths, found.chosen.by, found.chosen.reached) == ((2, 2, 3, 2), 'sure', 0.0)
    assert 'reached: 0.00 points lost, errors included' in said
    assert 'it rests on 1 standard error added to what is lost, from 7 images' in said
    assert decide('--sure', '0.5', '--max-drop', '2.1')[1].kept_depths == (2, 2, 2, 1)
    assert 'each decides on its own' in refused('--sure', '--alpha', 0.5)


def test_by_time(decide, costs):
    said, index = decide('--target-latency', 0.75)
    assert (index.kept_depths, index.chosen.asked, index.chosen.met) == ((2, 1, 2, 1), 0.75, True)
    assert 'it rests on a measurement of every depth: one test image of 64 x 96 on a machine' in said


def test_a_target_out_of_reach_gets_the_least_and_says_so(decide, costs):
    said, index = decide('--target-latency', 0.1)
    assert (index.kept_depths, index.chosen.met) == ((1, 1, 1, 1), False)
    assert 'no setting of this kind of rule reaches that: 0.50 of the time is the least' in said


def test_out_leaves_the_index_as_it_is(decide, path, tmp_path):
    before = path.read_bytes()
    said, _ = decide('--max-drop', 2, '--out', tmp_path / 'new/other.json')
    assert path.read_bytes() == before
    assert PruningIndex.load(tmp_path / 'new/other.json').kept_depths == (2, 2, 2, 1)
    assert f'wrote {tmp_path / "new/other.json"}' in said


def test_single_blocks(decide, path):
    PruningIndex.create(
        scores=Curve.from_lists([[1.0, 5.0], [2.0, 6.0], [3.0, 9.0, 8.0], [4.0, 7.0]], 'loss'),
        backbone=SWIN,
        criterion={'type': 'Taylor'},
        keep=0.5,
    ).save(path)
    said, _ = decide()
    assert '* │ 1-1-2-1 │ keep 0.5 │ 5.000' in said
    said, index = decide('--keep', 0.25)
    assert index.kept_blocks == ((2, 1), (2, 2), (3, 1))
    assert 'kept (stage, block): (2, 1), (2, 2), (3, 1)' in said


def test_a_model_is_measured_once(decide, path, detector_cfg, tmp_path):
    detector_cfg(tmp_path / 'run').dump(tmp_path / 'config.py')
    said, index = decide('--target-latency', 0.9, '--config', tmp_path / 'config.py')
    found = DepthCosts.load(tmp_path / 'depth_costs.json')
    assert f'wrote {tmp_path / "depth_costs.json"}' in said
    assert [row.kept_depths for row in found.rows] == PATHS
    assert index.chosen.reached == found.at(index.kept_depths).seconds / found.full.seconds
    written = (tmp_path / 'depth_costs.json').read_bytes()
    fewest = found.at((1, 1, 1, 1)).parameters
    _, index = decide('--max-params', fewest)
    assert index.kept_depths == (1, 1, 1, 1)
    assert (tmp_path / 'depth_costs.json').read_bytes() == written


def test_tried_out(decide, path, detector_cfg, tmp_path):
    cfg = detector_cfg(tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    torch.save({'state_dict': runs.build_model(cfg).state_dict()}, tmp_path / 'tuned.pth')
    said, index = decide('--verify', tmp_path / 'config.py', tmp_path / 'tuned.pth', '--max-drop', 100)
    assert (index.kept_depths, index.chosen.by, index.chosen.asked) == ((1, 1, 1, 1), 'verify', 100.0)
    assert 'coco/bbox_mAP on 7 validation images in 2 passes, bridged (2-2-3-2: ' in said
    assert 'relying on it that a deeper model is no worse' in said


@pytest.mark.parametrize(
    ('wish', 'told'),
    [
        (('--max-params', '4M', '--target-latency', 0.5), 'each decides on its own: give one of them'),
        (('--depths', '1,1,1,1', '--alpha', 0.5), 'depths is (1, 1, 1, 1) and alpha is 0.5'),
        (('--alpha', 0.5, '--max-drop', 1), 'give one or the other'),
        (('--max-params', '4M'), 'depth_costs.json: it does not exist; give --config CONFIG'),
        (('--max-params', 'nan'), 'max_params is nan; it must be a number of parameters'),
        (('--max-params', 'much'), "'much' is no number such as 4000000 or 4M"),
        (('--target-latency', 'nan'), 'target_latency is nan; it must be a share'),
        (('--target-latency', 70), 'target_latency is 70.0; it must be a share'),
        (('--max-drop', 'nan'), 'max_drop is nan; it must be'),
        (('--alpha', 0), 'alpha is 0.0; it must be'),
        (('--keep', 0.5), 'keep reads curves that rate single blocks'),
        (('--depths', '2,2,4,2'), 'kept_depths is [2, 2, 4, 2]; it must be 4 whole numbers'),
        (('--depths', '9'), 'kept_depths is [9]; it must be 4 whole numbers'),
        (('--depths', '0,0,0,0'), 'not all 0'),
        (('--depths', 'x'), "'x' is no list of whole numbers"),
        (('--verify', 'a.py', 'a.pth', '--config', 'a.py'), '--verify names its config'),
        (('--checkpoint', 'a.pth'), '--checkpoint is measured by --config CONFIG'),
        (('--config', 'no.py'), "config: no file at 'no.py'"),
        (('--verify', 'no.py', 'no.pth'), "config: no file at 'no.py'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(refused, wish, told):
    assert told in refused(*wish)


def test_costs_of_another_backbone_are_refused(refused, costs):
    content = json.loads(costs.read_text())
    content['backbone']['embed_dims'] = 96
    costs.write_text(json.dumps(content))
    line = refused('--max-params', '4M')
    assert 'depth_costs.json: backbone.embed_dims is 96, but 8 in the index; remove the file' in line


def test_costs_that_lack_a_depth_are_refused(refused, costs):
    content = json.loads(costs.read_text())
    content['rows'].pop()
    costs.write_text(json.dumps(content))
    assert 'it lacks kept_depths [1, 1, 1, 1]; give --config CONFIG' in refused('--max-params', '4M')


def test_a_config_of_another_backbone_is_refused(refused, path, segmentor_cfg, tmp_path):
    cfg = segmentor_cfg(tmp_path / 'run')
    cfg.model.backbone.pop('base_checkpoint')
    cfg.model.backbone.pop('adapter')
    cfg.model.backbone.depths = (2, 2, 2, 2)
    cfg.dump(tmp_path / 'config.py')
    line = refused('--target-latency', 0.5, '--config', tmp_path / 'config.py')
    assert 'backbone.depths is [2, 2, 2, 2], but [2, 2, 3, 2] in the index; give the config that' in line


def test_a_place_that_cannot_be_written_is_named(refused, tmp_path):
    (tmp_path / 'file').write_text('')
    line = refused('--max-drop', 2, '--out', tmp_path / 'file/index.json')
    assert str(tmp_path / 'file') in line


def test_an_index_that_is_not_there_is_named(refused, path):
    path.unlink()
    assert 'pruning_index.json does not exist; score the tuned model first' in refused()


def test_an_index_of_version_1_and_one_class(decide, path):
    path.write_text(
        json.dumps(
            {
                'format': 'mmsls-pruning-index',
                'version': 1,
                'backbone': {'type': 'PrunedVisionTransformer', 'embed_dims': 192, 'depths': [4]},
                'adapter': None,
                'base_sha256': None,
                'scores': [[0.0, 0.0, 0.0, 0.0]],
                'alpha': 0.5,
                'scope': 'model',
                'min_depth': 0,
                'reference': 'top',
                'thresholds': [None],
                'kept_depths': [4],
                'borderline': [],
                'note': None,
                'provenance': {'classes': 1},
            }
        )
    )
    said, _ = decide()
    assert '* │ 4 │ alpha 1' in said
    assert 'scored on data that the index does not name' in said
    said, index = decide('--depths', 2)
    assert (index.kept_depths, index.chosen.by) == ((2,), 'hand')
