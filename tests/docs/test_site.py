"""The site builds without a warning and loads nothing from elsewhere; its tables hold what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip('mkdocs', reason='the site needs the packages of the extra docs')
from page_blocks import ROOT
from warm_process import run_script

ELSEWHERE = re.compile(r'<(?:script|link|img|iframe|source|video)\b[^>]*?(?:src|href)="?((?:https?:)?//[^" >]*)')


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('site')
    script = tmp_path_factory.mktemp('mkdocs') / 'build.py'
    script.write_text('from mkdocs.__main__ import cli\n\ncli()\n')
    given = ('--config-file', ROOT / 'mkdocs.yml', '--site-dir', folder)
    done = run_script(script, 'build', '--strict', '--quiet', *given, NO_MKDOCS_2_WARNING='1')
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'WARNING' not in done.stdout + done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob('*.html'))
    assert len(pages) > 40
    for page in pages:
        assert not ELSEWHERE.findall(page.read_text()), page
    for sheet in site.rglob('*.css'):
        assert not re.search(r'@import|url\(["\']?(https?:)?//', sheet.read_text()), sheet
    assert ELSEWHERE.findall('<link rel="stylesheet" href="https://fonts.googleapis.com/css">')


def test_tables_hold_what_the_code_has(site):
    import mmsls.hooks  # noqa: F401 (registers them)
    from mmsls.criteria import CRITERIA
    from mmsls.registry import ADAPTERS, HOOKS

    for page, registry in (('adapters', ADAPTERS), ('criteria', CRITERIA), ('hooks', HOOKS)):
        text = (site / f'reference/{page}.html').read_text()
        ours = [name for name, kind in registry.module_dict.items() if kind.__module__.startswith('mmsls.')]
        assert len(ours) > 5
        assert [name for name in ours if name not in text] == []
    for page in ('backbones', 'commands', 'configs'):
        assert '<table>' in (site / f'reference/{page}.html').read_text()
    commands = (site / 'reference/commands.html').read_text()
    assert all(option in commands for option in ('--decide-first', '--target-latency', '--retrain-epochs'))
    assert not any('<!-- table' in path.read_text() for path in site.rglob('*.html'))


def test_every_model_is_in_the_zoo(site):
    text = (site / 'reference/configs.html').read_text()
    for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']:
        for model in yaml.safe_load((ROOT / path).read_text())['Models']:
            assert model['Name'] in text
