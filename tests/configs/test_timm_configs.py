"""Configs on timm's backbones: every base parses and names a model of timm; every leaf trains a step, shrunk."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmsls.backbones.timm.creating import created

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
WIDTHS = {'small': 384, 'base': 768, 'large': 1024}
WIDTH = 24  # DINOv3 turns positions by the width of a head, a multiple of 4
ON_TIMM = [path for path in (CONFIGS / '_base_/backbones').glob('*.py') if 'PrunedTimmBackbone' in path.read_text()]
BASES = sorted(path for path in ON_TIMM if 'swin' not in path.stem)  # those are in test_timm_swin_configs.py


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.stem)
def test_a_base_names_a_model_its_weights_and_its_own_blocks(path):
    backbone = Config.fromfile(path).backbone
    with torch.device('meta'):
        model = created(backbone.model_name, backbone.get('img_size'), backbone.get('model_args', {}))
    assert max(backbone.out_indices) == len(model.blocks) - 1
    assert model.patch_embed.patch_size == (16, 16)
    if backbone.base_checkpoint.startswith('timm:'):
        assert timm.is_model_pretrained(backbone.base_checkpoint.removeprefix('timm:'))
        assert backbone.base_checkpoint.startswith(f'timm:{backbone.model_name}.')
    elif path.stem == 'deit_tiny_timm':
        assert backbone.base_checkpoint == Config.fromfile(path.with_stem('deit_tiny')).backbone.base_checkpoint
    else:
        assert backbone.base_checkpoint.startswith('https://dl.fbaipublicfiles.com/dinov2/')


def shrunk(name):
    """A leaf's model with four narrow blocks, on a random base of its own and with its adapter."""
    cfg = Config.fromfile(CONFIGS / name / 'tune.py').model
    sizes = {'depth': 4, 'num_heads': 2, 'embed_dim': WIDTH}
    cfg.backbone.update(img_size=64, out_indices=(0, 1, 2, 3), model_args={'patch_size': 16, **sizes})
    narrow(cfg, WIDTHS[cfg.backbone.model_name.split('_')[1]])
    return cfg


def narrow(cfg, width):
    """Narrow what reads the backbone, all that is as wide as its base, and shorten transformers, in place."""
    for key, value in cfg.items():
        if isinstance(value, dict):
            narrow(value, width)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for part in value:
                narrow(part, width)
        elif key == 'fc_out_channels' or (key == 'out_channels' and value == width):
            cfg[key] = WIDTH
        elif key in ('in_channels', 'embed_dim') and value in (width, [width] * 4):
            cfg[key] = [WIDTH] * 4 if isinstance(value, list) else WIDTH
        elif key == 'num_layers':
            cfg[key] = 2
        elif key == 'channels':
            cfg[key] = 4 * WIDTH if value == 4 * width else WIDTH  # a linear head is four maps wide
        elif key == 'num_points' and value > 1000:
            cfg[key] = 64
        elif key in ('num', 'num_queries'):
            cfg[key] = 16


def on_a_base(cfg, models, folder):
    """Build a model on a random base, its adapter in every block, ready to train."""
    backbone = cfg.backbone
    torch.save(created(backbone.model_name, 64, backbone.model_args).state_dict(), folder / 'base.pth')
    backbone.base_checkpoint = str(folder / 'base.pth')
    model = revert_sync_batchnorm(models.build(cfg)).train()
    assert all('.adapters.' in name for name, p in model.backbone.named_parameters() if p.requires_grad)
    return model


def check_step(model, losses):
    """One step: every loss is a number, and what is trained gets a gradient, adapters of every block among it."""
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    for _, block in model.backbone.iter_blocks():
        assert all(parameter.grad is not None for parameter in block.adapters.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())


DETECTORS = [
    'det/mask-rcnn_dinov2-s_coco',
    'det/mask-rcnn_dinov3-b_coco',
    'det/mask-rcnn_eva02-b_coco',
    'det/cascade-mask-rcnn_dinov2-b_coco',
    'det/cascade-mask-rcnn_dinov2-l_coco',
    'det/cascade-mask-rcnn_eva02-l_coco',
    'det/dino_dinov2-s_coco',
    'det/mask2former_dinov3-s_coco',
    'det/mask2former_dinov3-l_coco',
]
SEGMENTORS = [
    'seg/upernet_dinov2-b_ade20k',
    'seg/upernet_dinov3-b_ade20k',
    'seg/upernet_eva02-b_ade20k',
    'seg/upernet_eva02-l_ade20k',
    'seg/linear_dinov2-s_ade20k',
    'seg/linear_dinov3-s_ade20k',
    'seg/linear_dinov3-l_ade20k',
    'seg/mask2former_dinov2-b_ade20k',
    'seg/mask2former_dinov2-l_ade20k',
]


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_takes_a_step(name, tmp_path):
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    cfg = shrunk(name)
    cfg.data_preprocessor.pop('batch_augments', None)  # Mask2Former pads to 1024 pixels
    model = on_a_base(cfg, MODELS, tmp_path)
    batch = demo_mm_inputs(1, [[3, 120, 96]], num_items=[3], num_classes=80, with_mask=True)
    check_step(model, model(**model.data_preprocessor(batch, True), mode='loss'))


@pytest.mark.parametrize('name', SEGMENTORS)
def test_a_segmentor_takes_a_step(name, tmp_path):
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')
    model = on_a_base(shrunk(name), MODELS, tmp_path)
    labels = torch.randint(0, 150, (2, 1, 8, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one), metainfo={'img_shape': (64, 64)}) for one in labels]
    check_step(model, model(torch.rand(2, 3, 64, 64), samples, mode='loss'))


def test_every_leaf_takes_a_step():
    leaves = [path for kind in ('det', 'seg') for path in (CONFIGS / kind).glob('*/tune.py')]
    names = [f'backbones/{base.stem}.py' for base in BASES]
    on_timm = [leaf.parent for leaf in leaves if any(name in leaf.read_text() for name in names)]
    assert {path.relative_to(CONFIGS).as_posix() for path in on_timm} == {*DETECTORS, *SEGMENTORS}


def test_the_real_deit_gives_through_timm_what_it_gives_through_mmseg(shared):
    from mmseg.registry import MODELS

    import mmsls.integrations.mmseg  # noqa: F401

    init_default_scope('mmseg')
    theirs = Config.fromfile(CONFIGS / '_base_/backbones/deit_tiny.py').backbone
    theirs.update(final_norm=False, fused_attention=False)
    theirs.base_checkpoint = str(shared / 'data/deit_tiny_in1k/deit_tiny_patch16_224_pipevit.pth')
    ours = {
        'type': 'mmsls.PrunedTimmBackbone',
        'model_name': 'deit_tiny_patch16_224',
        'base_checkpoint': theirs.base_checkpoint,
        'out_indices': theirs.out_indices,
    }
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = (MODELS.build(cfg).eval()(image) for cfg in (ours, theirs))
    assert [out.shape for out in found] == [(1, 192, 14, 14)] * 4
    for x, y in zip(found, expected, strict=True):
        assert (x - y).abs().max() < 1e-5 * y.abs().max()
