"""Python blocks of the pages run; config blocks load over a stock config, and their backbone is built."""

from __future__ import annotations

import ast
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, DefaultScope
from page_blocks import Block, blocks, title

from mmsls.backbones import PrunedBackbone
from mmsls.pruning_index import PruningIndex

CONFIG_NAMES = {'model', 'custom_hooks', 'custom_imports', 'load_from', '_base_'}
OURS = ('base_checkpoint', 'adapter', 'pruning_index', 'kept_depths', 'kept_blocks', 'bridge')
OUTPUT_NORMS = ('norm0', 'norm1', 'norm2', 'norm3')
# Of a text that another test follows, word for word.
ELSEWHERE = 'CONTRIBUTING.md'
PYTHON = [block for block in blocks('python') if block.page != ELSEWHERE]


def is_config(code: str) -> bool:
    parsed = ast.parse(code).body
    targets = {target.id for step in parsed if isinstance(step, ast.Assign) for target in step.targets}
    return all(isinstance(step, ast.Assign) for step in parsed) and bool(targets & CONFIG_NAMES)


CONFIGS = [block for block in PYTHON if is_config(block.code)]
CODE = [block for block in PYTHON if not is_config(block.code)]


@pytest.mark.parametrize('block', CODE, ids=title)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = compile(block.code, block.page, 'exec')
    if not block.only_checked:
        exec(code, {'__name__': 'page'})
    for step in ast.walk(ast.parse(block.code)):
        for name in step.names if isinstance(step, ast.ImportFrom) else ():
            assert hasattr(import_module(step.module), name.name), f'{step.module} has no {name.name}'


def starts_anew(code: str) -> bool:
    return '_base_ =' in code or "type='Pruned" in code or '.Pruned' in code


def host_config(code: str) -> str:
    import mmseg

    if "'mmsls.integrations.mmseg'" in code and 'mmdet' not in code:
        # By path: under the maintained forks `mmseg::` looks for a distribution of another name.
        name = 'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
        return str(Path(mmseg.__path__[0]) / '.mim/configs/swin' / name)
    return 'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'


def chain_of(block: Block) -> list[str]:
    """Return the blocks that a config block stands on: those before it on its page, from the last that is whole."""
    before = [other.code for other in CONFIGS if other.page == block.page and other.number <= block.number]
    start = max((place for place, code in enumerate(before) if starts_anew(code)), default=None)
    first = next(other.code for other in CONFIGS if other.page == 'README.md')
    return before[start:] if start is not None else [first, *before]


def written(block: Block, folder: Path) -> Config:
    base = None
    for number, code in enumerate(chain_of(block)):
        if '_base_ =' not in code:
            code = f'_base_ = {base or host_config(code)!r}\n{code}'
        base = str(folder / f'part{number}.py')
        Path(base).write_text(code)
    return Config.fromfile(base)


@pytest.fixture(scope='session')
def random_bases(tmp_path_factory):
    """A function that returns the file of a random base for a backbone's config."""
    folder, made = tmp_path_factory.mktemp('bases'), {}

    def run(registry, backbone) -> str:
        bare = {key: value for key, value in backbone.items() if key not in OURS}
        path = folder / f'{len(made)}.pth'
        if repr(bare) not in made:
            state = registry.build(deepcopy(bare)).state_dict()
            torch.save(
                {key: v for key, v in state.items() if not key.startswith(('norm0', 'norm1', 'norm2', 'norm3'))}, path
            )
            made[repr(bare)] = str(path)
        return made[repr(bare)]

    return run


def index_for(backbone: PrunedBackbone, path: Path) -> None:
    scores = {(stage, block): 0.5 for stage, depth in enumerate(backbone.depths) for block in range(depth)}
    PruningIndex.create(scores=scores, backbone=backbone.fingerprint(), scope='stage', min_depth=1).save(path)


@pytest.mark.parametrize('block', CONFIGS, ids=title)
def test_a_config_block_loads_and_its_backbone_is_built(block, tmp_path, monkeypatch, random_bases) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = written(block, tmp_path)
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(deepcopy(hook))
    registry = import_module(f'{cfg.default_scope}.registry').MODELS
    backbone = cfg.model.backbone.to_dict()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if backbone.get('base_checkpoint'):
            backbone['base_checkpoint'] = random_bases(registry, backbone)
        if backbone.get('pruning_index'):
            backbone['pruning_index'] = str(tmp_path / 'index.json')
            uncut = {key: value for key, value in backbone.items() if key not in ('pruning_index', 'bridge')}
            index_for(registry.build(deepcopy(uncut)), tmp_path / 'index.json')
        built = registry.build(backbone)
    assert isinstance(built, PrunedBackbone)
    if backbone.get('pruning_index'):
        assert sum(built.kept_depths) < sum(built.depths)


def test_there_are_blocks_of_each_kind() -> None:
    assert len(CONFIGS) > 8
    assert len(CODE) > 3
