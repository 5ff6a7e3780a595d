"""Data and bases that are not there are named before a model is built, with the way to name them."""

from __future__ import annotations

import re

import pytest
from mmengine.config import Config

from mmsls import runs
from mmsls.chain.checks import check_configs
from mmsls.runs.presence import check_presence, data_roots


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A folder in which the paths of our configs lead nowhere."""
    for name in ('MMSLS_CAMVID', 'MMSLS_BCCD', 'MMSLS_DEIT_TINY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(cfg, *splits):
    with pytest.raises(FileNotFoundError) as raised:
        check_presence(cfg, *splits)
    return str(raised.value)


def test_a_variable_that_names_the_data_is_told(elsewhere, monkeypatch):
    cfg = runs.load_config('mmsls::camvid/tune.py')
    said = refused(cfg, 'train')
    assert said.startswith("data_root: no folder at '../shared/data/camvid/'; set MMSLS_CAMVID to where it is")
    (elsewhere / 'camvid').mkdir()
    monkeypatch.setenv('MMSLS_CAMVID', str(elsewhere / 'camvid'))
    said = refused(runs.load_config('mmsls::camvid/tune.py'), 'train', 'val', 'test')
    assert re.match(r"base_checkpoint: no file at '../shared/.*pth'; set MMSLS_DEIT_TINY to where it is", said)


def test_the_demo_says_what_makes_its_data(elsewhere):
    assert refused(runs.load_config('mmsls::demo/tune.py'), 'val').endswith('`python -m mmsls.demo` makes it')


def test_data_of_ones_own_is_named_by_its_setting(elsewhere):
    said = refused(runs.load_config('mmsls::seg/upernet_swin-t_ade20k/tune.py'), 'test')
    assert said.endswith('or name it: --cfg-options test_dataloader.dataset.data_root=FOLDER')


@pytest.mark.parametrize(
    'call',
    [
        runs.train,
        lambda cfg: runs.test(cfg, __file__),
        lambda cfg: runs.score(cfg, __file__),
        lambda cfg: runs.bridge(cfg, __file__, 'out.pth'),
        lambda cfg: runs.refit(cfg, __file__, 'out.pth'),
        check_configs,
    ],
    ids=['train', 'test', 'score', 'bridge', 'refit', 'chain'],
)
def test_every_run_looks_first(elsewhere, call):
    with pytest.raises(FileNotFoundError, match='set MMSLS_CAMVID to where it is'):
        call(runs.load_config('mmsls::camvid/tune.py'))
    assert list(elsewhere.iterdir()) == []


def test_only_the_splits_that_are_read_must_be_there(elsewhere):
    (elsewhere / 'here').mkdir()
    loaders = {name: {'dataset': {'data_root': name}} for name in ('here', 'gone')}
    cfg = Config({'train_dataloader': loaders['here'], 'val_dataloader': loaders['gone'], 'test_dataloader': None})
    check_presence(cfg, 'train', 'test')
    assert refused(cfg, 'train', 'val').startswith("data_root: no folder at 'gone'")


@pytest.mark.parametrize(
    ('part', 'roots'),
    [
        ({'dataset': {'dataset': {'data_root': 'a'}}}, ['a']),
        ({'dataset': {'datasets': [{'data_root': 'a'}, {'data_root': 'b'}]}}, ['a', 'b']),
        ({'dataset': {'data_root': 's3://a'}}, []),
        ({'dataset': {'data_root': 'a', 'backend_args': {'backend': 'petrel'}}}, []),
        ({'dataset': {'data_root': ''}}, []),
        ({'dataset': {'data_root': 'a', 'ann_file': '/b/x.json', 'data_prefix': {'img': '/b/x/'}}}, []),
        ({'dataset': {'data_root': 'a', 'ann_file': 'x.json', 'data_prefix': {'img': '/b/x/'}}}, ['a']),
        ({'dataset': {'data_root': None}}, []),
        (None, []),
    ],
)
def test_roots_are_found_in_data_sets_of_data_sets(part, roots):
    assert list(data_roots(part)) == roots
