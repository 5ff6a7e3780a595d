"""What MIM lists: `model-index.yml` and the file that it names."""

from __future__ import annotations

from pathlib import Path

from modelindex.load_model_index import load

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = {'pruned', 'baseline', 'full_finetune'}


def test_every_config_that_tunes_is_listed():
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    listed = {model.config for model in index.models}
    leaves = {path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts}
    assert listed == {path.relative_to(ROOT).as_posix() for path in leaves if path.stem not in VARIANTS}
    assert len({model.name for model in index.models}) == len(listed)
