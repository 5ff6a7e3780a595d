"""Configs on timm's Swin v2: the base names a model and its own stages; every leaf trains a step, shrunk."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmsls.backbones.timm.creating import created
from mmsls.backbones.timm.shells import without_storage

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
DETECTOR, SEGMENTOR = 'det/mask-rcnn_swinv2-b_coco', 'seg/upernet_swinv2-b_ade20k'
TINY = {'embed_dim': 16, 'depths': (1, 1, 2, 1), 'num_heads': (1, 2, 2, 4), 'window_size': 4}
WIDTHS = [16, 32, 64, 128]


def test_the_base_names_a_model_and_windows_that_are_nowhere_cut():
    backbone = Config.fromfile(CONFIGS / '_base_/backbones/swinv2_b.py').backbone
    with without_storage():
        model = created(backbone.model_name, backbone.img_size, {})
    assert backbone.out_indices == tuple(range(len(model.layers)))
    assert {block.window_size for stage in model.layers for block in stage.blocks} == {(16, 16)}
    tag = timm.get_pretrained_cfg(f'{backbone.model_name}.ms_in22k_ft_in1k')
    assert backbone.base_checkpoint == tag.url
    assert [info['num_chs'] for info in model.feature_info] == Config.fromfile(
        CONFIGS / DETECTOR / 'tune.py'
    ).model.neck.in_channels


def shrunk(name, models, folder):
    """A leaf's model on a narrow random base with its adapter, ready to train."""
    cfg = Config.fromfile(CONFIGS / name / 'tune.py').model
    cfg.backbone.update(img_size=64, model_args=TINY, base_checkpoint=str(folder / 'base.pth'))
    base = created(cfg.backbone.model_name, 64, TINY)
    torch.save(base.state_dict(), cfg.backbone.base_checkpoint)
    if 'neck' in cfg:
        cfg.neck.in_channels = WIDTHS
    else:
        cfg.decode_head.update(in_channels=WIDTHS, channels=16)
        cfg.auxiliary_head.update(in_channels=WIDTHS[2], channels=16)
    return revert_sync_batchnorm(models.build(cfg)).train()


def check_step(model, losses):
    """One step: every loss is a number, adapters of every block get a gradient, and nothing else of the backbone."""
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    learning = {name: p.grad for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert all('.adapters.' in name for name in learning)
    assert sum(name.endswith('up.weight') for name in learning) == 10
    assert all(grad is not None and grad.any() for name, grad in learning.items() if name.endswith('up.weight'))


def test_the_detector_takes_a_step(tmp_path):
    from mmdet.testing import demo_mm_inputs

    import_module('mmdet.utils').register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    model = shrunk(DETECTOR, import_module('mmdet.registry').MODELS, tmp_path)
    batch = demo_mm_inputs(1, [[3, 120, 96]], num_items=[3], num_classes=80, with_mask=True)
    check_step(model, model(**model.data_preprocessor(batch, True), mode='loss'))


def test_the_segmentor_takes_a_step(tmp_path):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    import_module('mmseg.utils').register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')
    model = shrunk(SEGMENTOR, import_module('mmseg.registry').MODELS, tmp_path)
    labels = torch.randint(0, 150, (2, 1, 8, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one), metainfo={'img_shape': (64, 64)}) for one in labels]
    check_step(model, model(torch.rand(2, 3, 64, 64), samples, mode='loss'))


@pytest.mark.parametrize('name', [DETECTOR, SEGMENTOR])
def test_the_stages_of_a_leaf_fit_together(name):
    tune, pruned = (Config.fromfile(CONFIGS / name / f'{stage}.py') for stage in ('tune', 'pruned'))
    assert pruned.model.backbone.pruning_index == f'{tune.work_dir}/pruning_index.json'
    assert all(len((CONFIGS / name / f'{stage}.py').read_text().splitlines()) <= 15 for stage in ('tune', 'pruned'))
