"""Every config must parse, stay short, and build the model that its name promises."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmsls import runs
from mmsls.backbones import PrunedBackbone
from mmsls.pruning_index import PruningIndex
from mmsls.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
LEAVES = sorted(path for folder in ('det', 'bccd') for path in (CONFIGS / folder).rglob('*.py'))
COCO_VOC = sorted(path for path in (CONFIGS / 'det').iterdir() if path.is_dir())
SWIN = [path for path in COCO_VOC if 'swin-' in path.name]
LIGHT = ['det/mask-rcnn_swin-t_coco', 'det/retinanet_swin-t_coco', 'bccd']
KEYS = {
    *('auto_scale_lr', 'custom_hooks', 'custom_imports', 'default_hooks', 'default_scope', 'env_cfg', 'load_from'),
    *('log_level', 'log_processor', 'model', 'optim_wrapper', 'param_scheduler', 'randomness', 'resume', 'test_cfg'),
    *('test_dataloader', 'test_evaluator', 'train_cfg', 'train_dataloader', 'val_cfg', 'val_dataloader'),
    *('val_evaluator', 'vis_backends', 'visualizer', 'work_dir'),
    # Variables that the parts of a config hand to each other.
    *('adapter', 'backbone', 'backend_args', 'data_root', 'dataset_type', 'max_epochs', 'metainfo', 'scale'),
    *('levels', 'neck', 'pyramid', 'test_pipeline', 'train_pipeline'),
    # Those of mmdet's own DINO and Mask2Former.
    *('batch_augments', 'data_preprocessor', 'dynamic_intervals', 'embed_multi', 'image_size', 'interval'),
    *('log_processor', 'max_iters', 'num_classes', 'num_stuff_classes', 'num_things_classes'),
}


def name_of(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix('').as_posix()


@cache
def parsed(path: Path) -> Config:
    return Config.fromfile(path)


def load(name: str) -> Config:
    return deepcopy(parsed(CONFIGS / f'{name}.py'))


@cache
def random_base(folder: str, embed_dims: int, depths: tuple, num_heads: tuple, window_size: int) -> str:
    path = Path(folder) / f'{embed_dims}.pth'
    swin = SwinTransformer(
        embed_dims=embed_dims, depths=depths, num_heads=num_heads, window_size=window_size, out_indices=()
    )
    torch.save({'state_dict': swin.state_dict()}, path)
    return str(path)


@pytest.fixture(scope='session')
def bases(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp('bases'))


def build(cfg: Config, bases: str) -> torch.nn.Module:
    init_default_scope('mmdet')
    backbone = cfg.model.backbone
    heads, depths = tuple(backbone.num_heads), tuple(backbone.depths)
    backbone.base_checkpoint = random_base(bases, backbone.embed_dims, depths, heads, backbone.window_size)
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_a_leaf_is_short_and_starts_with_the_command(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 15
    header = ' '.join(line for line in lines if line.startswith('#'))
    assert lines[0].startswith('# ')
    assert f'mmsls train mmsls::{name_of(path)}.py' in header


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_a_leaf_has_no_unknown_keys_and_names_its_results_after_itself(path: Path) -> None:
    cfg = parsed(path)
    assert set(cfg) <= KEYS
    assert cfg.work_dir == f'work_dirs/{path.parent.name}/{path.stem}'
    ours = ['mmdet', 'mmseg'] if 'pyramid' in cfg else ['mmdet']  # mmseg has the neck that makes one of a plain ViT
    assert cfg.custom_imports.imports == [f'mmsls.integrations.{name}' for name in ours]
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)


@pytest.mark.parametrize('folder', [*COCO_VOC, CONFIGS / 'bccd'], ids=lambda path: path.name)
def test_the_stages_fit_together(folder: Path) -> None:
    tune, pruned = (parsed(folder / f'{stage}.py') for stage in ('tune', 'pruned'))
    assert [hook.type for hook in tune.custom_hooks] == ['mmsls.SLSHook', 'mmsls.SlimCheckpointHook']
    assert [hook.type for hook in pruned.custom_hooks] == ['mmsls.SlimCheckpointHook']
    assert pruned.model.backbone.pruning_index == f'{tune.work_dir}/pruning_index.json'
    last = f'iter_{tune.train_cfg.max_iters}' if 'max_iters' in tune.train_cfg else f'epoch_{tune.train_cfg.max_epochs}'
    assert pruned.load_from == f'{tune.work_dir}/{last}.pth'
    unpruned = {key: value for key, value in pruned.model.backbone.items() if key != 'pruning_index'}
    assert unpruned == tune.model.backbone.to_dict()


@pytest.mark.parametrize('folder', COCO_VOC, ids=lambda path: path.name)
def test_the_tuning_config_scores_the_val_split_by_both_tools(folder: Path) -> None:
    """`mmsls score` takes the default split; a host's own test.py scores the test split."""
    tune = parsed(folder / 'tune.py')
    assert runs.default_split(tune) == 'val'
    assert tune.test_dataloader == tune.val_dataloader
    assert tune.test_evaluator == tune.val_evaluator


@pytest.mark.parametrize('folder', [*SWIN, CONFIGS / 'bccd'], ids=lambda path: path.name)
def test_the_neck_reads_what_the_backbone_gives(folder: Path) -> None:
    model = parsed(folder / 'tune.py').model
    used = model.backbone.get('out_indices', range(4))
    assert model.neck.in_channels == [model.backbone.embed_dims * 2**stage for stage in used]


@pytest.mark.parametrize('name', LIGHT)
def test_a_tuned_model_builds_and_only_adapters_norms_and_heads_learn(name: str, bases: str) -> None:
    cfg = load(f'{name}/tune')
    model = build(cfg, bases)
    assert isinstance(model.backbone, PrunedBackbone)
    learning = {key for key, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert learning
    assert all('.adapters.' in key or key.startswith('norm') for key in learning)
    rest = [parameter for key, parameter in model.named_parameters() if not key.startswith('backbone.')]
    assert all(parameter.requires_grad for parameter in rest)


@pytest.mark.parametrize('name', LIGHT)
def test_adapters_learn_faster_than_heads(name: str, bases: str) -> None:
    cfg = load(f'{name}/tune')
    model = build(cfg, bases)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {id(group['params'][0]): group['lr'] for group in wrapper.optimizer.param_groups}
    adapter = next(parameter for key, parameter in model.named_parameters() if '.adapters.' in key)
    neck = next(iter(model.neck.parameters()))
    assert rates[id(adapter)] > rates[id(neck)] == cfg.optim_wrapper.optimizer.lr


@pytest.mark.parametrize('name', LIGHT)
def test_a_pruned_model_builds_at_the_depths_of_its_index(name: str, bases: str, tmp_path: Path) -> None:
    cfg = load(f'{name}/pruned')
    backbone = cfg.model.backbone
    scores = {(stage, block): 0.5 for stage, depth in enumerate(backbone.depths) for block in range(depth)}
    scores[2, 4] = scores[2, 3] = 0.0
    fingerprint = {'type': 'SwinTransformer', 'embed_dims': backbone.embed_dims, 'depths': list(backbone.depths)}
    index = PruningIndex.create(
        scores=scores, backbone=fingerprint, adapter=None, base_sha256=None, provenance={}, scope='stage', min_depth=1
    )
    index.save(tmp_path / 'index.json')
    backbone.pruning_index = str(tmp_path / 'index.json')
    model = build(cfg, bases)
    assert model.backbone.kept_depths == index.kept_depths
    assert model.backbone.is_pruned


@pytest.mark.parametrize('name', ['det/cascade-mask-rcnn_swin-b_coco', 'det/retinanet_swin-l_voc'])
def test_a_large_model_builds_without_its_base(name: str) -> None:
    """Loading 350 MB or more is the same code as for Swin-T; the arguments are what could be wrong."""
    init_default_scope('mmdet')
    cfg = load(f'{name}/tune')
    # One block a stage: the arguments are checked all the same, in a tenth of the time.
    cfg.model.backbone.update(base_checkpoint=None, adapter=None, depths=(1, 1, 1, 1))
    model = MODELS.build(cfg.model)
    assert [block for block, _ in model.backbone.iter_blocks()] == [(stage, 0) for stage in range(4)]


def test_changing_only_the_type_of_a_stock_config_works(bases: str, tmp_path: Path) -> None:
    """mmdet's own Swin configs carry `convert_weights` and `init_cfg`, which a frozen base makes pointless."""
    leaf = tmp_path / 'stock.py'
    leaf.write_text(
        "_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'\n"
        "custom_imports = dict(imports=['mmsls.integrations.mmdet'], allow_failed_imports=False)\n"
        "model = dict(backbone=dict(type='PrunedSwinTransformer', adapter=dict(type='mmsls.Convpass')))\n"
    )
    cfg = Config.fromfile(leaf)
    assert {'convert_weights', 'init_cfg'} <= set(cfg.model.backbone)
    model = build(cfg, bases)
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    # The address in init_cfg is never visited.
    model.backbone.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.state_dict().items())


def test_the_baseline_has_no_adapters(bases: str) -> None:
    model = build(load('bccd/baseline'), bases)
    learning = {key for key, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert learning == {f'norm{stage}.{kind}' for stage in (1, 2, 3) for kind in ('weight', 'bias')}


@pytest.mark.parametrize('name', ['convpass', 'repadapter'])
def test_an_adapter_base_names_a_known_adapter(name: str) -> None:
    from mmsls.adapters import normalise_adapter_cfg

    assert normalise_adapter_cfg(load(f'_base_/adapters/{name}').adapter)['rank'] == 8


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load('bccd/tune').train_dataloader.dataset.data_root == '../shared/data/bccd/'
    monkeypatch.setenv('MMSLS_BCCD', 'elsewhere/bccd')
    cfg = Config.fromfile(CONFIGS / 'bccd/tune.py')
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere/bccd/'
    assert cfg.val_evaluator.ann_file == 'elsewhere/bccd/coco/instances_val.json'
    assert cfg.test_evaluator.ann_file == 'elsewhere/bccd/coco/instances_test.json'
