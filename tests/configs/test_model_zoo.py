"""model-index.yml and the metafiles: every config is there, and every figure was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
LISTED = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
# BaseLoader: figures stay texts, so that 0.470 is looked for and not 0.47.
METAFILES = {path: yaml.load((ROOT / path).read_text(), yaml.BaseLoader) for path in LISTED}
MODELS = [model for metafile in METAFILES.values() for model in metafile['Models']]
FIGURES = [
    (model['Name'], result['Page'], value)
    for model in MODELS
    for result in model['Results']
    for value in result.get('Metrics', {}).values()
]


def test_every_metafile_is_listed():
    assert sorted(LISTED) == sorted(str(path.relative_to(ROOT)) for path in CONFIGS.rglob('metafile.yml'))


def test_every_config_is_a_model_once():
    leaves = [path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts]
    assert sorted(model['Config'] for model in MODELS) == sorted(str(path.relative_to(ROOT)) for path in leaves)
    assert len({model['Name'] for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize('path', METAFILES)
def test_models_belong_to_their_collection_and_its_readme_names_their_configs(path):
    (collection,) = METAFILES[path]['Collections']
    readme = ROOT / collection['README']
    assert readme.parent == (ROOT / path).parent
    text = readme.read_text()
    for heading in ('## Introduction', '## Usage', '## Results and Models', '## Citation'):
        assert heading in text
    for target in re.findall(r'\]\(([^)#]+)\)', text):
        assert target.startswith('http') or (readme.parent / target).exists(), target
    for model in METAFILES[path]['Models']:
        assert model['In Collection'] == collection['Name']
        assert f'({(ROOT / model["Config"]).relative_to(readme.parent)})' in text


@pytest.mark.parametrize(('name', 'page', 'value'), FIGURES, ids=lambda part: str(part).rsplit('/')[-1])
def test_every_figure_stands_on_its_page(name, page, value):
    assert page.startswith('docs/results/')
    assert re.search(rf'(?<![\d.]){re.escape(value)}(?!\d)', (ROOT / page).read_text())


def test_there_are_figures():
    assert len(FIGURES) > 15
