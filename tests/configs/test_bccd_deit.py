"""BCCD on DeiT-Tiny: the configs parse, fit together, and build with the real base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmsls.registry import HOOKS

FOLDER = Path(__file__).resolve().parents[2] / 'configs/bccd_deit'
LEAVES = sorted(FOLDER.glob('*.py'))


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_a_leaf_is_short_and_starts_with_the_command(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 15
    assert f'mmsls train mmsls::bccd_deit/{path.name}' in ' '.join(lines[:4])
    cfg = Config.fromfile(path)
    assert cfg.work_dir == f'work_dirs/bccd_deit/{path.stem}'
    assert cfg.custom_imports.imports == ['mmsls.integrations.mmdet', 'mmsls.integrations.mmseg']
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)


def test_the_stages_fit_together():
    tune, pruned, baseline = (Config.fromfile(FOLDER / f'{name}.py') for name in ('tune', 'pruned', 'baseline'))
    assert [hook.type for hook in tune.custom_hooks] == ['mmsls.SLSHook', 'mmsls.SlimCheckpointHook']
    assert pruned.load_from == f'{tune.work_dir}/epoch_{tune.train_cfg.max_epochs}.pth'
    assert pruned.model.backbone.pruning_index == f'{tune.work_dir}/pruning_index.json'
    assert {k: v for k, v in pruned.model.backbone.items() if k != 'pruning_index'} == tune.model.backbone.to_dict()
    assert {**baseline.model.backbone, 'adapter': tune.model.backbone.adapter} == tune.model.backbone.to_dict()


@pytest.mark.parametrize('kept', [None, 6])
def test_the_detector_builds_and_learns_on_the_real_base(shared, kept):
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    cfg = Config.fromfile(FOLDER / 'tune.py')
    init_default_scope('mmdet')
    cfg.model.backbone.base_checkpoint = str(shared / 'data' / cfg.model.backbone.base_checkpoint.split('/data/')[1])
    cfg.model.backbone.kept_depths = kept
    model = MODELS.build(cfg.model)
    features = model.neck(model.backbone(torch.zeros(1, 3, 224, 320)))
    assert [tuple(level.shape[2:]) for level in features] == [(28, 40), (14, 20), (7, 10), (3, 5)]
    boxes = InstanceData(bboxes=torch.tensor([[10.0, 10.0, 90.0, 90.0]]), labels=torch.tensor([0]))
    sample = DetDataSample(gt_instances=boxes, metainfo={'img_shape': (224, 299), 'pad_shape': (224, 320)})
    losses = model.loss(torch.rand(1, 3, 224, 320), [sample])
    sum(sum(value) for value in losses.values()).backward()
    adapters = {name: p for name, p in model.named_parameters() if '.adapters.' in name}
    assert len(adapters) == 6 * 2 * (kept or 12)
    assert {name for name, p in model.backbone.named_parameters() if p.requires_grad} == {
        name.removeprefix('backbone.') for name in adapters
    }
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert {group['lr'] for group in optimizer.param_groups} == {0.001, 0.002}
