"""The index file: round trip, size, refusals field by field, decisions from stored scores."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsls.pruning_index import FORMAT, MINOR, VERSION, PruningIndex
from mmsls.pruning_index.file import FIELDS
from mmsls.scoring import Curve

SWIN = {'type': 'PrunedSwinTransformer', 'embed_dims': 96, 'depths': (2, 2, 6, 2)}
PROVENANCE = {
    'sampler': 'InstanceSampler',
    'dataset': 'CocoDataset',
    'split': 'val',
    'samples': 2000,
    'classes': 80,
    'seed': 0,
    'perplexity': 30.0,
    'order_hash': 'f' * 64,
    'versions': {'mmsls': '0.1.0', 'scikit-learn': '1.9.1', 'numpy': '2.2.6', 'torch': '2.13.0'},
    'warning': None,
}


STAGES = [[0.05, 0.2], [0.1, 0.5], [0.1, 0.3, 0.05, 0.4, 0.5, 0.6], [0.1, 0.7]]
SCORES = {(stage, block): score for stage, scores in enumerate(STAGES) for block, score in enumerate(scores)}


def scores_of(depths: tuple[int, ...], seed: int = 0) -> dict[tuple[int, int], float]:
    rng = random.Random(seed)
    return {(stage, block): rng.uniform(0.0, 0.7) for stage, depth in enumerate(depths) for block in range(depth)}


def make(**changes: Any) -> PruningIndex:
    fields = {
        'scores': SCORES,
        'backbone': SWIN,
        'adapter': {'type': 'mmsls.Convpass', 'rank': 8, 'scale': 1.0},
        'base_sha256': '0123456789abcdef' * 4,
        'provenance': PROVENANCE,
        'scope': 'stage',
        'min_depth': 1,
    }
    return PruningIndex.create(**(fields | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'pruning_index.json'


def rewrite(path: Path, **changes: Any) -> None:
    """Save a sound index, then change fields of the file; a value of `...` removes the field."""
    make().save(path)
    fields = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not ...}))


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'adapter': None, 'base_sha256': None, 'provenance': None},
        {'scope': 'model', 'alpha': 1, 'min_depth': 0, 'reference': 'peak'},
        {'scores': dict.fromkeys(SCORES, 1 / 3)},
    ],
)
def test_round_trip_is_exact(path, changes):
    index = make(**changes)
    index.save(path)
    assert PruningIndex.load(path) == index


def test_round_trip_without_a_threshold(path):
    index = make(scores=dict.fromkeys(SCORES, -0.1))
    index.save(path)
    assert index.thresholds == (None,) * 4
    assert PruningIndex.load(path) == index


def test_24_blocks_stay_under_8_kilobytes(path):
    depths = (2, 2, 18, 2)
    scores = {block: -0.2 - score / 7 for block, score in scores_of(depths).items()}  # the longest note, all digits
    index = make(scores=scores, backbone=SWIN | {'depths': depths})
    index.save(path)
    assert path.stat().st_size < 8 * 1024 / 2
    make(scores=dict.fromkeys(scores, 1 / 3), backbone=SWIN | {'depths': depths}, alpha=1).save(path)
    assert len(PruningIndex.load(path).borderline) == 24
    assert path.stat().st_size < 8 * 1024 / 2


def test_file_names_its_format_and_is_read_by_people(path):
    make().save(path)
    lines = path.read_text().splitlines()
    assert lines[1:3] == [f'"format": "{FORMAT}",', f'"version": {VERSION},']
    assert sum(line.startswith('"kept_depths": [') for line in lines) == 1


def test_decides_as_the_rule():
    assert make().kept_depths == (2, 2, 4, 2)
    assert make().thresholds == pytest.approx((0.06, 0.15, 0.18, 0.21))
    assert make().borderline == ((0, 0), (1, 0))
    assert make().note is None
    index = make(scores=dict.fromkeys(SCORES, -0.1))
    assert index.kept_depths == SWIN['depths']
    assert 'likely causes' in index.note


def test_decide_uses_stored_scores_and_leaves_the_index_alone():
    index = make()
    again = index.decide(alpha=1.0)
    assert again.alpha == 1.0
    assert (again.scope, again.min_depth, again.reference) == ('stage', 1, 'top')
    assert again == make(alpha=1.0)
    assert index == make()
    assert index.decide(scope='model', min_depth=0, reference='peak') == make(
        scope='model', min_depth=0, reference='peak'
    )
    assert index.decide() == index


def test_decide_can_set_min_depth_to_zero():
    assert make(min_depth=2).decide(min_depth=0).min_depth == 0


def test_decide_takes_numpy_numbers(path):
    index = make().decide(alpha=np.float64(0.5), min_depth=np.int64(2))
    index.save(path)
    assert PruningIndex.load(path) == index == make().decide(alpha=0.5, min_depth=2)


@pytest.mark.parametrize('option', [{'alpha': 0}, {'alpha': 2}, {'scope': 'x'}, {'min_depth': -1}, {'reference': 'x'}])
def test_decide_refuses_wrong_options(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        make().decide(**option)


def test_config_like_values_are_stored_as_plain_json(path):
    provenance = {'samples': np.int64(7), 'perplexity': np.float32(2.0), 'img_scale': (224, 224)}
    index = make(provenance=provenance)
    index.save(path)
    assert PruningIndex.load(path).provenance == {'samples': 7, 'perplexity': 2.0, 'img_scale': [224, 224]}


def test_index_is_frozen_and_detached_from_its_input():
    adapter = {'type': 'mmsls.Convpass', 'rank': 8}
    index = make(adapter=adapter)
    adapter['rank'] = 9
    assert index.adapter == {'type': 'mmsls.Convpass', 'rank': 8}
    with pytest.raises(dataclasses.FrozenInstanceError):
        index.rule = None


def test_check_backbone():
    index = make()
    index.check_backbone(SWIN)
    index.check_backbone(SWIN | {'depths': [2, 2, 6, 2]})
    for field, value in (('type', 'PrunedVisionTransformer'), ('embed_dims', 128), ('depths', (2, 2, 18, 2))):
        stored = list(SWIN[field]) if field == 'depths' else SWIN[field]
        other = list(value) if field == 'depths' else value
        message = f'backbone.{field} is {stored!r} in the index but {other!r} in the model'
        with pytest.raises(ValueError, match=re.escape(message)):
            index.check_backbone(SWIN | {field: value})


def test_missing_file_names_path_and_mend(path):
    with pytest.raises(FileNotFoundError, match=r'pruning_index\.json does not exist; score .* or set kept_depths'):
        PruningIndex.load(path)


def test_every_cut_is_refused(path):
    make().save(path)
    text = path.read_text().rstrip()
    for end in range(0, len(text), 7):
        path.write_text(text[:end])
        with pytest.raises(ValueError, match=r'pruning_index\.json.*cut short'):
            PruningIndex.load(path)


def test_a_folder_is_refused(path):
    path.mkdir()
    with pytest.raises(ValueError, match=r'pruning_index\.json.*is no file; give the path of the file'):
        PruningIndex.load(path)


@pytest.mark.parametrize(
    'content', [b'[' * 10**6, b'[]', b'3', b'"x"', b'null', b'\xff\xfe\x00', b'PK\x03\x04', b'{"alpha": NaN}']
)
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'pruning_index\.json'):
        PruningIndex.load(path)


@pytest.mark.parametrize(
    ('field', 'value', 'found'),
    [
        ('format', 'coco', "format is 'coco'"),
        ('format', ..., 'format is None'),
        ('version', 3, 'version is 3, but this release of mmsls reads 1 to 2'),
        ('minor', ..., 'minor is None'),
        ('minor', '0', "minor is '0'"),
        ('criterion', {}, 'criterion is {}'),
        ('criterion', 'SLS', "criterion is 'SLS'"),
        ('unit', 7, 'unit is 7'),
        ('rule', [], 'rule is []'),
        ('rule', {'beta': 1}, "rule is {'beta': 1}"),
        ('version', '1', "version is '1'"),
        ('version', True, 'version is True'),
        ('extra', 1, "unknown field 'extra'"),
        ('note', 3, 'note is 3'),
        ('adapter', 'Convpass', "adapter is 'Convpass'"),
        ('base_sha256', 'abc', "base_sha256 is 'abc'"),
        ('base_sha256', 7, 'base_sha256 is 7'),
        ('provenance', [], 'provenance is []'),
        ('provenance', None, 'provenance is None'),
        ('backbone', None, 'backbone is None'),
        ('backbone', {'type': 'X'}, 'exactly the fields type, embed_dims, depths'),
        ('backbone', SWIN | {'type': ''}, "backbone.type is ''"),
        ('backbone', SWIN | {'embed_dims': 0}, 'backbone.embed_dims is 0'),
        ('backbone', SWIN | {'depths': [2, 2, 6, 0]}, 'backbone.depths is [2, 2, 6, 0]'),
        ('backbone', SWIN | {'depths': [2, 2, 6, 3]}, '[2, 2, 6, 3], but the scores are of [2, 2, 6, 2]'),
        ('backbone', SWIN | {'depths': 12}, 'backbone.depths is 12'),
        ('rule', {'alpha': 0}, 'alpha is 0'),
        ('rule', {'alpha': 1.5}, 'alpha is 1.5'),
        ('rule', {'alpha': '0.3'}, "alpha is '0.3'"),
        ('rule', {'scope': 'block'}, "scope is 'block'"),
        ('rule', {'scope': ['stage']}, "scope is ['stage']"),
        ('rule', {'min_depth': -1}, 'min_depth is -1'),
        ('rule', {'min_depth': 0.5}, 'min_depth is 0.5'),
        ('rule', {'reference': None}, 'reference is None'),
        ('scores', {}, 'scores is {}'),
        ('scores', [], 'scores is []'),
        ('scores', [[]], 'scores is [[]]'),
        ('scores', [[0.1, 2.0]], 'score of block (0, 1) is 2.0'),
        ('scores', [['high']], "score of block (0, 0) is 'high'"),
        ('scores', [[0.1, 0.2]], '[2, 2, 6, 2], but the scores are of [2]'),
        ('kept_depths', [2, 2, 9, 2], 'kept_depths is [2, 2, 9, 2], but the rule gives [2, 2, 4, 2]'),
        ('kept_depths', [2, 2, 4], 'kept_depths is [2, 2, 4], but'),
        ('kept_depths', [1, 1, 1, 1], 'kept_depths is [1, 1, 1, 1], but the rule gives'),
        ('kept_depths', '1122', 'kept_depths is "1122"'),
    ],
)
def test_wrong_field_is_refused_with_file_field_and_values(path, field, value, found):
    rewrite(path, **{field: value})
    with pytest.raises(ValueError, match=re.escape(found)) as error:
        PruningIndex.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('field', FIELDS)
def test_missing_field_is_refused(path, field):
    rewrite(path, **{field: ...})
    with pytest.raises(ValueError, match=f"lacks the field '{field}'"):
        PruningIndex.load(path)


def test_changed_alpha_without_a_new_decision_is_refused(path):
    rewrite(path, rule={'alpha': 1.0, 'scope': 'stage', 'min_depth': 1})
    with pytest.raises(ValueError, match='kept_depths is'):
        PruningIndex.load(path)


def test_saving_makes_folders_and_replaces(tmp_path):
    path = tmp_path / 'new' / 'folder' / 'index.json'
    make().save(path)
    make(alpha=1.0).save(str(path))
    assert PruningIndex.load(path) == make(alpha=1.0)
    assert os.listdir(path.parent) == ['index.json']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_failed_save_leaves_the_old_file_whole(path, monkeypatch, step):
    make().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match='disk full'):
        make(alpha=1.0).save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_saved_file_has_ordinary_permissions(path):
    umask = os.umask(0o022)
    try:
        make().save(path)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'adapter': {'fn': print}}, 'adapter is'),
        ({'provenance': {'loss': float('nan')}}, 'provenance is'),
        ({'scores': {(0, 0): 0.1}}, r'the scores are of \[1\]'),
        ({'scores': {}}, 'scores is empty'),
        ({'base_sha256': 'A' * 64}, 'base_sha256 is'),
    ],
)
def test_create_refuses_what_could_not_be_loaded(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


VERSION_1 = """{
"format": "mmsls-pruning-index",
"version": 1,
"backbone": {"type": "PrunedVisionTransformer", "embed_dims": 192, "depths": [4]},
"adapter": {"type": "Convpass", "rank": 8},
"base_sha256": null,
"scores": [[0.0, 0.1, 0.3, 0.4]],
"alpha": 0.5,
"scope": "model",
"min_depth": 0,
"reference": "top",
"thresholds": [0.2],
"kept_depths": [3],
"borderline": [],
"note": null,
"provenance": {"sampler": "ImageSampler", "samples": 100}
}
"""


def test_a_file_of_version_1_still_loads(path):
    path.write_text(VERSION_1)
    index = PruningIndex.load(path)
    assert (index.kept_depths, index.thresholds, index.alpha) == ((3,), (0.2,), 0.5)
    assert index.criterion == {'type': 'SLS'}
    assert index.curve.unit == 'silhouette'
    index.save(path)
    assert json.loads(path.read_text())['version'] == VERSION
    assert PruningIndex.load(path) == index


def test_a_file_of_version_1_is_checked_too(path):
    path.write_text(VERSION_1.replace('"kept_depths": [3]', '"kept_depths": [2]'))
    with pytest.raises(ValueError, match='kept_depths is'):
        PruningIndex.load(path)


def test_what_a_newer_minor_version_adds_is_kept_and_said(path):
    rewrite(path, minor=MINOR + 1, confidence=[0.5, 0.9])
    with pytest.warns(UserWarning, match='keeps the fields confidence unread'):
        index = PruningIndex.load(path)
    assert index.kept_depths == make().kept_depths
    index.save(path)
    assert json.loads(path.read_text())['confidence'] == [0.5, 0.9]


def test_a_criterion_with_a_unit_of_its_own(path):
    points = {block: 100 * score for block, score in SCORES.items()}
    index = make(scores=Curve(points, 'points'), criterion={'type': 'Probe', 'folds': 5})
    index.save(path)
    again = PruningIndex.load(path)
    assert again == index
    assert again.curve.unit == 'points'
    assert again.criterion == {'type': 'Probe', 'folds': 5}
    assert again.kept_depths == make().kept_depths


POINTS = Curve({block: 100 * score for block, score in SCORES.items()}, 'points')


def test_max_drop_is_stored_and_read(path):
    index = make(scores=POINTS, criterion={'type': 'Probe'}, max_drop=10)
    assert index.kept_depths == (2, 2, 5, 2)
    index.save(path)
    assert json.loads(path.read_text())['rule']['max_drop'] == 10.0
    again = PruningIndex.load(path)
    assert again == index
    assert (again.max_drop, again.alpha) == (10.0, 0.3)
    assert again.decide(alpha=0.3) == make(scores=POINTS, criterion={'type': 'Probe'})


def test_stability_is_of_one_rule_and_goes_with_it():
    index = make(provenance=PROVENANCE | {'stability': {'stable': True}})
    assert index.decide() == index.decide(alpha=0.3) == index
    assert index.decide(alpha=0.5) == make(alpha=0.5)


def test_what_guessing_reaches_belongs_to_the_curve_and_is_read_again(path):
    index = make(scores=POINTS, max_drop=10, provenance=PROVENANCE | {'chance': 70.0})
    index.save(path)
    assert PruningIndex.load(path) == index
    assert index.curve.chance == 70
    assert index.kept_depths == SWIN['depths']
    assert index.thresholds == (None,) * 4
    assert 'not above chance (70), so no depth can be read off and these stages are kept whole' in index.note
    assert index.decide(alpha=0.5).kept_depths == SWIN['depths']


@pytest.mark.parametrize('chance', ['much', None, [1], True, -1, 101])
def test_what_is_no_number_of_points_is_no_chance(chance):
    index = make(scores=POINTS, max_drop=10, provenance={'chance': chance, 'drop_errors': chance, 'commonest': chance})
    assert index.curve.chance is None
    assert index.decision == make(scores=POINTS, max_drop=10).decision


def test_without_max_drop_the_file_is_what_it_was(path):
    make().save(path)
    assert json.loads(path.read_text())['rule'] == {'alpha': 0.3, 'scope': 'stage', 'min_depth': 1, 'reference': 'top'}
    assert PruningIndex.load(path).max_drop is None


@pytest.mark.parametrize('value', [-1, '1', [1]])
def test_a_wrong_max_drop_in_the_file_is_refused(path, value):
    rewrite(path, rule={'max_drop': value})
    with pytest.raises(ValueError, match='max_drop is'):
        PruningIndex.load(path)


def test_max_drop_on_silhouettes_is_refused(path):
    with pytest.raises(ValueError, match='max_drop is 1 points, but the curve counts silhouette'):
        make().decide(max_drop=1)
    rewrite(path, rule={'max_drop': 1.0})
    with pytest.raises(ValueError, match=r'pruning_index\.json: max_drop is 1 points'):
        PruningIndex.load(path)


def test_home_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    make().save('~/a/index.json')
    assert PruningIndex.load('~/a/index.json') == PruningIndex.load(tmp_path / 'a/index.json')


def test_what_was_lowered_for_the_stages_together_stays_lowered_where_the_same_is_asked():
    scores = Curve({(0, 0): 58.0, (0, 1): 60.0, (1, 0): 59.5, (1, 1): 60.0}, 'points')
    backbone = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2]}
    about = {'together': 59.5, 'asked_max_drop': 2.0, 'images': 5}
    index = PruningIndex.create(
        scores=scores, backbone=backbone, scope='stage', min_depth=1, max_drop=0.5, provenance=about
    )
    same = index.decide(max_drop=2.0)
    assert (same.kept_depths, same.provenance) == ((2, 1), about)
    other = index.decide(max_drop=3.0)
    assert (other.kept_depths, other.provenance) == ((1, 1), {'images': 5})


def test_stages_that_were_rated_each_on_its_own_are_not_read_in_one_walk():
    scores = Curve({(0, 0): 58.0, (0, 1): 60.0, (1, 0): 59.5, (1, 1): 60.0}, 'points')
    swin, about = {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2]}, {'metric': 'mIoU', 'whole': 60.0}
    rule = {'scope': 'stage', 'max_drop': 1, 'criterion': {'type': 'Bridged'}, 'provenance': about}
    index = PruningIndex.create(scores=scores, backbone=swin, **rule)
    assert index.decide(max_drop=3).kept_depths == (1, 1)
    with pytest.raises(ValueError, match="scope is 'model', and Bridged rates every stage on its own"):
        index.decide(scope='model')
    vit = {'type': 'VisionTransformer', 'embed_dims': 8, 'depths': [2]}
    one = PruningIndex.create(scores=Curve({(0, 0): 58.0, (0, 1): 60.0}, 'points'), backbone=vit, **rule)
    assert one.decide(scope='model').kept_depths == (2,)


# Blocks that are not the lowest ones.


def test_single_blocks_make_the_round_trip(path):
    index = make(criterion={'type': 'Taylor'}, scores=Curve(SCORES, 'loss'), keep=0.5, scope='model', min_depth=0)
    index.save(path)
    fields = json.loads(path.read_text())
    assert fields['kept_blocks'] == [list(block) for block in index.kept_blocks] != []
    assert fields['kept_depths'] == list(index.kept_depths) == [0, 1, 4, 1]
    assert (fields['version'], fields['rule']['keep']) == (2, 0.5)
    assert PruningIndex.load(path) == index
    assert index.decide(keep=0.75).kept_blocks != index.kept_blocks


def test_lowest_blocks_are_stored_as_depths_alone(path):
    make().save(path)
    assert 'kept_blocks' not in json.loads(path.read_text())
    assert make().kept_blocks[:3] == ((0, 0), (0, 1), (1, 0))


@pytest.mark.parametrize('wrong', [..., [[0, 0]], 'all', None])
def test_stored_blocks_that_do_not_follow_from_the_curve_are_refused(path, wrong):
    make(scores=Curve(SCORES, 'loss'), keep=0.5, scope='model', min_depth=0).save(path)
    fields = json.loads(path.read_text()) | {'kept_blocks': wrong}
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not ...}))
    with pytest.raises(ValueError, match=r'kept_blocks is .*the rule gives'):
        PruningIndex.load(path)


def test_blocks_beside_a_rule_that_keeps_depths_are_refused(path):
    rewrite(path, kept_blocks=[[0, 0], [1, 1]])
    with pytest.raises(ValueError, match=r'kept_blocks is .*the rule gives null'):
        PruningIndex.load(path)


def test_files_of_2_0_load_as_before(path):
    rewrite(path, minor=0)
    assert PruningIndex.load(path) == make()
