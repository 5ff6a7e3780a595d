"""Every segmentation config must parse, stay short, and build the model that its name promises."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, METRICS, MODELS, TRANSFORMS, VISUALIZERS
from mmseg.utils import register_all_modules

import mmsls.integrations.mmseg  # noqa: F401
from mmsls import runs
from mmsls.backbones import PrunedBackbone
from mmsls.features import RegionSampler
from mmsls.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
PUBLIC = sorted(path for path in (CONFIGS / 'seg').iterdir() if path.is_dir())
SMALL = [CONFIGS / 'camvid', CONFIGS / 'demo_seg']
LEAVES = sorted(path for folder in (*PUBLIC, *SMALL) for path in folder.glob('*.py'))
KEYS = {
    *('auto_scale_lr', 'custom_hooks', 'custom_imports', 'default_hooks', 'default_scope', 'env_cfg', 'load_from'),
    *('log_level', 'log_processor', 'model', 'optim_wrapper', 'param_scheduler', 'randomness', 'resume', 'test_cfg'),
    *('test_dataloader', 'test_evaluator', 'train_cfg', 'train_dataloader', 'tta_model', 'val_cfg', 'val_dataloader'),
    *('val_evaluator', 'vis_backends', 'visualizer', 'work_dir'),
    # Variables that the parts of a config hand to each other.
    *('adapter', 'backbone', 'class_weight', 'crop_size', 'data_root', 'dataset_type', 'head', 'ignore_index'),
    *('init_cfg', 'loss_decode', 'max_iters', 'metainfo'),
    *('norm_cfg', 'pipeline', 'scale', 'test_pipeline', 'train_pipeline'),
}


def name_of(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix('').as_posix()


@cache
def parsed(path: Path) -> Config:
    return Config.fromfile(path)


def load(name: str) -> Config:
    return deepcopy(parsed(CONFIGS / f'{name}.py'))


def build(cfg: Config, **backbone) -> torch.nn.Module:
    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')
    cfg.model.backbone.update(backbone)
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
    more = ['mmdet.models'] if 'mask2former' in path.parent.name else []  # its pixel decoder and losses are mmdet's
    assert cfg.custom_imports.imports == ['mmsls.integrations.mmseg', *more]
    assert cfg.default_scope == 'mmseg'
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)


@pytest.mark.parametrize('folder', [*PUBLIC, *SMALL], ids=lambda path: path.name)
def test_the_stages_fit_together(folder: Path) -> None:
    tune, pruned = (parsed(folder / f'{stage}.py') for stage in ('tune', 'pruned'))
    assert [hook.type for hook in tune.custom_hooks] == ['mmsls.SLSHook', 'mmsls.SlimCheckpointHook']
    assert [hook.type for hook in pruned.custom_hooks] == ['mmsls.SlimCheckpointHook']
    assert pruned.model.backbone.pruning_index == f'{tune.work_dir}/pruning_index.json'
    iterations = tune.train_cfg.max_iters
    assert pruned.load_from == f'{tune.work_dir}/iter_{iterations}.pth'
    assert iterations % tune.default_hooks.checkpoint.interval == 0
    assert iterations % tune.train_cfg.val_interval == 0
    assert tune.param_scheduler[-1].end == iterations
    unpruned = {key: value for key, value in pruned.model.backbone.items() if key != 'pruning_index'}
    assert unpruned == tune.model.backbone.to_dict()


@pytest.mark.parametrize('folder', PUBLIC, ids=lambda path: path.name)
def test_the_tuning_config_scores_the_val_split_by_both_tools(folder: Path) -> None:
    """`mmsls score` takes the default split; a host's own test.py scores the test split."""
    tune = parsed(folder / 'tune.py')
    assert runs.default_split(tune) == 'val'
    assert tune.test_dataloader == tune.val_dataloader
    assert tune.test_evaluator == tune.val_evaluator


@pytest.mark.parametrize('folder', SMALL, ids=lambda path: path.name)
def test_small_runs_report_on_other_images_than_they_choose_on(folder: Path) -> None:
    cfg = parsed(folder / 'tune.py')
    val, test = (cfg[f'{split}_dataloader'].dataset.data_prefix for split in ('val', 'test'))
    assert all(val[name] != test[name] for name in ('img_path', 'seg_map_path'))


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_everything_a_leaf_names_is_known_to_mmseg(path: Path) -> None:
    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')
    cfg = parsed(path)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert DATASETS.get(dataset.type) is not None
        assert all(TRANSFORMS.get(step.type) is not None for step in dataset.pipeline)
        assert dataset.pipeline[-1].type == 'PackSegInputs'
    assert METRICS.get(cfg.test_evaluator.type) is not None
    assert VISUALIZERS.get(cfg.visualizer.type) is not None


def test_a_tuned_model_builds_and_only_adapters_norms_and_heads_learn(tmp_path: Path) -> None:
    from mmseg.models.backbones import SwinTransformer

    cfg = load('seg/upernet_swin-t_ade20k/tune')
    sizes = {name: cfg.model.backbone[name] for name in ('embed_dims', 'depths', 'num_heads', 'window_size')}
    torch.save({'state_dict': SwinTransformer(**sizes, out_indices=()).state_dict()}, tmp_path / 'base.pth')
    model = build(cfg, base_checkpoint=str(tmp_path / 'base.pth'))
    assert isinstance(model.backbone, PrunedBackbone)
    learning = {key for key, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert learning
    assert all('.adapters.' in key or key.startswith('norm') for key in learning)
    assert all(
        parameter.requires_grad for key, parameter in model.named_parameters() if not key.startswith('backbone.')
    )
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {id(group['params'][0]): group['lr'] for group in wrapper.optimizer.param_groups}
    adapter = next(parameter for key, parameter in model.named_parameters() if '.adapters.' in key)
    assert rates[id(adapter)] > rates[id(model.decode_head.conv_seg.weight)] == cfg.optim_wrapper.optimizer.lr


@pytest.mark.parametrize(
    ('name', 'smaller'),
    [
        ('seg/upernet_swin-b_ade20k', {'depths': (1, 1, 1, 1)}),
        ('seg/upernet_swin-l_voc2012', {'depths': (1, 1, 1, 1)}),
        ('seg/upernet_vit-b_ade20k', {'num_layers': 4, 'out_indices': (0, 1, 2, 3)}),
        ('seg/upernet_deit-b_ade20k', {'num_layers': 4, 'out_indices': (0, 1, 2, 3)}),
        (
            'seg/upernet_dinov2-b_ade20k',
            {'img_size': 96, 'model_args': {'patch_size': 16, 'depth': 4}, 'out_indices': (0, 1, 2, 3)},
        ),
        (
            'seg/linear_dinov2-s_ade20k',
            {'img_size': 96, 'model_args': {'patch_size': 16, 'depth': 4}, 'out_indices': (0, 1, 2, 3)},
        ),
        ('camvid', {'num_layers': 4, 'out_indices': (0, 1, 2, 3)}),
        ('demo_seg', {}),
    ],
)
def test_a_model_runs_without_its_base(name: str, smaller: dict) -> None:
    """Loading a base is the same code as for Swin-T; only arguments could be wrong, and a few blocks say as much."""
    cfg = load(f'{name}/tune')
    if cfg.model.get('auxiliary_head') and cfg.model.decode_head.channels > 64:
        cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 16
    model = build(cfg, base_checkpoint=None, adapter=None, **smaller).eval()
    with torch.no_grad():
        logits = model(torch.rand(1, 3, 96, 128))
    assert logits.shape[1] == cfg.model.decode_head.num_classes
    assert RegionSampler.settings_of(model) == {
        'ignore_index': 11 if name == 'camvid' else 255,
        'num_classes': cfg.model.decode_head.num_classes,
    }


def test_camvid_agrees_with_its_folder(shared: Path) -> None:
    import json

    from mmengine.runner import Runner

    register_all_modules(init_default_scope=True)
    cfg = load('camvid/tune')
    facts = json.loads((shared / 'data/camvid/classes.json').read_text())
    assert list(cfg.metainfo.classes) == facts['classes']
    assert cfg.ignore_index == facts['ignore_index'] == cfg.model.decode_head.ignore_index
    assert cfg.ignore_index == cfg.val_evaluator.ignore_index == cfg.model.data_preprocessor.seg_pad_val
    for split, count in (('train', 184), ('val', 51), ('test', 117)):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = str(shared / 'data/camvid')
        loader.update(num_workers=0, persistent_workers=False)
        dataset = Runner.build_dataloader(loader).dataset
        assert len(dataset) == count
        labels = dataset[0]['data_samples'].gt_sem_seg.data
        assert set(labels.unique().tolist()) <= {*range(11), 11}


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load('camvid/tune').train_dataloader.dataset.data_root == '../shared/data/camvid/'
    monkeypatch.setenv('MMSLS_CAMVID', 'elsewhere/camvid')
    assert Config.fromfile(CONFIGS / 'camvid/tune.py').val_dataloader.dataset.data_root == 'elsewhere/camvid/'


def test_full_fine_tuning_starts_from_the_exported_base(shared: Path, tmp_path: Path) -> None:
    tune, full = load('camvid/tune'), load('camvid/full_finetune')
    tune.model.backbone.base_checkpoint = str(shared / 'data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth')
    runs.export_base(tune, tmp_path / 'base.pth')
    full.model.backbone.init_cfg.checkpoint = str(tmp_path / 'base.pth')
    model = build(full)
    model.init_weights()
    frozen = build(tune, adapter=None).backbone.state_dict()
    trained = model.backbone.state_dict()
    assert set(frozen) - set(trained) == {'_extra_state'}
    assert all(torch.equal(trained[key], frozen[key]) for key in trained)
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match='base_checkpoint=None'):
        runs.export_base(full, tmp_path / 'other.pth')


def test_camvid_trains_with_unlabelled_pixels() -> None:
    """mmseg's loss fails for some combinations of class weights and ignored pixels."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    model = build(load('camvid/tune'), base_checkpoint=None, adapter=None, num_layers=4, out_indices=(0, 1, 2, 3))
    head = model.decode_head.eval()
    features = [torch.rand(2, 192, 4, 4)] * 4
    labels = torch.full((2, 1, 64, 64), 3)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one)) for one in labels]
    whole = head.loss(features, samples, {})['loss_ce']
    for one in samples:
        one.gt_sem_seg.data[:, :48] = 11
    rest = head.loss(features, samples, {})['loss_ce']
    # A mean over what is labelled, not a sum spread over all pixels: a quarter of them is left.
    assert whole / 2 < rest < whole * 2
