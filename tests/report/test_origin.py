"""Where scores come from: written beside an index, and read again for the same curve alone."""

from __future__ import annotations

import copy

import pytest
from mmengine.config import Config

from mmsls.files.given import remember
from mmsls.report.origin import Origin, nearby


@pytest.fixture
def path(tmp_path, index_of):
    index_of().save(tmp_path / 'pruning_index.json')
    return tmp_path / 'pruning_index.json'


def test_what_was_typed_comes_back(path, index_of):
    cfg = Config({'a': 1}, filename=str(path))
    remember(cfg, 'mmsls::demo/tune.py', {'data.roots': ['a', 'b'], 'x': 1})
    found = Origin.of(copy.deepcopy(cfg), 'open-mmlab://x', {'NCM': 'why'})
    assert found == Origin('mmsls::demo/tune.py', ("data.roots=['a','b']", 'x=1'), 'open-mmlab://x', {'NCM': 'why'})
    assert '_mmsls_given' not in cfg.pretty_text
    found.save(path, index_of())
    assert Origin.load(path, index_of()) == found


def test_a_config_of_other_tools_is_known_by_its_file(path):
    assert Origin.of(Config({}, filename=str(path)), None) == Origin(str(path))


def test_that_of_another_curve_is_not_this_ones(path, index_of):
    Origin('a.py').save(path, index_of((0.1, 0.2)))
    assert Origin.load(path, index_of()) == Origin()


@pytest.mark.parametrize('text', ['{', '[]', '{"config": 1}', '{"config": "", "checkpoint": "", "options": [1]}'])
def test_a_damaged_file_is_named(path, index_of, text):
    (path.parent / 'origin.json').write_text(text)
    with pytest.raises(ValueError, match='the commands of the page'):
        Origin.load(path, index_of())


def test_paths_are_relative_inside_the_folder_of_the_run(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert nearby(path) == 'pruning_index.json'
    assert nearby('/elsewhere/x.py') == '/elsewhere/x.py'
    assert nearby('mmsls::demo/tune.py') == 'mmsls::demo/tune.py'
