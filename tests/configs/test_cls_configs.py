"""The VTAB-1k configs: short, and each builds what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmpretrain.registry import MODELS
from mmpretrain.utils import register_all_modules

from mmsls.backbones import PrunedBackbone
from mmsls.runs import default_split, split_dataloader

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LEAVES = sorted((CONFIGS / 'cls' / 'vtab').glob('*.py'))


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_a_leaf_is_short_and_says_how_to_run_it(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 8
    assert lines[0].startswith('# VTAB-1k, ')
    assert f'mmsls vtab --config mmsls::cls/vtab/{path.name}' in lines[1]
    assert Config.fromfile(path).work_dir == f'work_dirs/vtab/{path.stem}'


def test_every_backbone_has_both_of_the_authors_adapters():
    names = {path.stem for path in LEAVES}
    assert names == {f'{b}_{a}' for b in ('vit-b', 'swin-b', 'deit-tiny') for a in ('convpass', 'repadapter')}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_the_settings_are_the_authors(path):
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.adapter.rank == 8
    assert cfg.optim_wrapper.optimizer == {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 1e-4}
    assert cfg.train_cfg.max_epochs == 100
    assert [(s.type, s.begin, s.end) for s in cfg.param_scheduler] == [
        ('LinearLR', 0, 10),
        ('CosineAnnealingLR', 10, 100),
    ]
    assert cfg.train_dataloader.dataset.ann_file == 'train800val200.txt'
    assert cfg.test_dataloader.dataset.ann_file == 'test.txt'
    assert cfg.val_dataloader is None
    assert default_split(cfg) == 'train'
    scored = split_dataloader(cfg, 'train')
    assert scored.dataset['ann_file'] == 'train800val200.txt'
    assert not scored.sampler.shuffle


@pytest.mark.parametrize('name', ['vit-b_convpass', 'vit-b_repadapter', 'swin-b_convpass', 'swin-b_repadapter'])
def test_a_large_model_builds_at_one_block_a_stage(name, tmp_path):
    """Loading 350 MB is the same code as for a small base; the arguments are what could be wrong."""
    register_all_modules(init_default_scope=True)
    import mmsls.integrations.mmpretrain  # noqa: F401

    cfg = Config.fromfile(CONFIGS / f'cls/vtab/{name}.py')
    if name.startswith('swin'):
        cfg.model.backbone.arch = {'embed_dims': 128, 'depths': (1, 1, 1, 1), 'num_heads': (4, 8, 16, 32)}
        stock = SwinTransformer(cfg.model.backbone.arch)
    else:
        cfg.model.backbone.arch = {'embed_dims': 768, 'num_layers': 1, 'num_heads': 12, 'feedforward_channels': 3072}
        stock = VisionTransformer(cfg.model.backbone.arch)
    torch.save(stock.state_dict(), tmp_path / 'base.pth')
    cfg.model.backbone.base_checkpoint = str(tmp_path / 'base.pth')
    model = MODELS.build(cfg.model).eval()
    assert isinstance(model.backbone, PrunedBackbone)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 224, 224), mode='tensor').shape == (1, 100)
