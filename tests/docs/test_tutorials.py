"""The tutorials run, in a shrunk form, and their pages show what the scripts say."""

from __future__ import annotations

import doctest
import re
from importlib import import_module

import doc_commands
import doc_tutorials
import pytest
from doc_tutorials import Notebook, cells, page
from mmengine.registry import DefaultScope
from page_blocks import ROOT
from warm_process import run_script

NAMES = ('detector', 'segmentor')
FOLDER = ROOT / 'docs/tutorials'
OUTPUT = re.compile(r'\n+```text\n.*?\n```|\n+!\[what the cell above draws\]\(figures/[\w-]+\.png\)', re.S)
TABLE = re.compile(r'(?:\n+)(?:\|.*\n)+')


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('module', [doc_commands, doc_tutorials], ids=lambda module: module.__name__)
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize('name', NAMES)
def test_a_page_shows_its_script(name):
    shown = (FOLDER / f'{name}.md').read_text()
    for figure in re.findall(r'figures/([\w-]+\.png)', shown):
        assert (FOLDER / 'figures' / figure).is_file()
    bare = TABLE.sub('\n\n', OUTPUT.sub('', shown))
    assert re.sub(r'\n{2,}', '\n\n', bare) == re.sub(r'\n{2,}', '\n\n', page((FOLDER / f'{name}.py').read_text()))


@pytest.mark.timeout(1500)  # half a minute of CPU time; a machine that does ten other things took 500 s
@pytest.mark.parametrize('name', NAMES)
def test_a_tutorial_runs_in_short(here, name):
    done = run_script(FOLDER / f'{name}.py', TUTORIAL='short', TUTORIAL_DATA='', MPLBACKEND='agg')
    assert done.returncode == 0, done.stderr[-3000:]
    assert '| retrained |' in done.stdout or 'The rule finds no block' in done.stdout
    assert re.search(r'^stored: \d+ KiB$', done.stdout, re.M)


@pytest.mark.parametrize(('name', 'split'), [('detector', 'train'), ('segmentor', 'val')])
def test_it_can_be_pointed_at_data_of_ones_own(here, monkeypatch, name, split):
    """Up to the config, which names the data and their classes; the base behind it is a download."""
    from mmsls.demo.digit_scenes import CLASSES, SceneSettings, make_digit_scenes

    data = make_digit_scenes(here / 'mine', SceneSettings(num_images={'train': 3, 'val': 2, 'test': 2}))
    (data / 'classes.txt').write_text('\n'.join([*CLASSES, 'background']) + '\n')
    monkeypatch.setenv('TUTORIAL_DATA', str(data))
    monkeypatch.setenv('MPLBACKEND', 'agg')
    book = Notebook(name, here)
    codes = [cell.source for cell in cells((FOLDER / f'{name}.py').read_text()) if not cell.is_text]
    last = next(number for number, code in enumerate(codes) if 'load_config' in code)
    said = [book.run(code) for code in codes[: last + 1]]
    assert 'PrunedSwinTransformer on swin_tiny_patch4_window7_224.pth' in said[-1]
    cfg = book.space['cfg']
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        registry = import_module(f'{cfg.default_scope}.registry').DATASETS
        dataset = registry.build(cfg[f'{split}_dataloader'].dataset)
    assert len(dataset) == {'train': 3, 'val': 2}[split]
    assert dataset.metainfo['classes'] == CLASSES + (('background',) if name == 'segmentor' else ())
