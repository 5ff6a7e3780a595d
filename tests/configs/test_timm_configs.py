"""Configs on timm's backbones: every base parses and names a model of timm; every leaf trains a step, shrunk."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmsls.backbones.timm.host import created

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASES = sorted(path for path in (CONFIGS / '_base_/backbones').glob('*.py') if 'PrunedTimmBackbone' in path.read_text())


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
    else:
        assert backbone.base_checkpoint.startswith('https://dl.fbaipublicfiles.com/dinov2/')


def shrunk(name):
    """A leaf's model with four blocks, tuned by nothing but a random base that is frozen."""
    cfg = Config.fromfile(CONFIGS / name / 'tune.py')
    sizes = {'img_size': 64, 'out_indices': (0, 1, 2, 3), 'model_args': {'patch_size': 16, 'depth': 4}}
    cfg.model.backbone.update(base_checkpoint=None, adapter=None, **sizes)
    return cfg


def test_a_detector_takes_a_step():
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    model = revert_sync_batchnorm(MODELS.build(shrunk('det/mask-rcnn_dinov2-s_coco').model)).train()
    batch = demo_mm_inputs(1, [[3, 120, 96]], num_items=[3], num_classes=80, with_mask=True)
    losses, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    losses.backward()
    assert losses.isfinite()
    assert model.backbone.model.patch_embed.proj.weight.grad.any()


def test_a_segmentor_takes_a_step():
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')
    cfg = shrunk('seg/upernet_dinov2-b_ade20k')
    cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 16
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    labels = torch.randint(0, 150, (2, 1, 64, 64))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one), metainfo={'img_shape': (64, 64)}) for one in labels]
    losses, _ = model.parse_losses(model(torch.rand(2, 3, 64, 64), samples, mode='loss'))
    losses.backward()
    assert losses.isfinite()
    assert model.backbone.model.patch_embed.proj.weight.grad.any()


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
