"""A tiny classifier whose blocks differ in known ways, and features with known structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules

from mmsls.criteria import Evidence

VIT = {
    'arch': {'embed_dims': 32, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 64},
    'img_size': 32,
    'patch_size': 8,
}
SWIN = {
    'arch': {'embed_dims': 16, 'depths': (1, 2, 1), 'num_heads': (1, 2, 4)},
    'out_indices': (2,),
    'img_size': 32,
    'window_size': 2,
    'drop_path_rate': 0.0,
}
FAMILIES = {
    'vit': (
        VisionTransformer,
        VIT,
        {'head': {'type': 'VisionTransformerClsHead', 'num_classes': 3, 'in_channels': 32}},
    ),
    'swin': (
        SwinTransformer,
        SWIN,
        {
            'neck': {'type': 'GlobalAveragePooling'},
            'head': {'type': 'LinearClsHead', 'num_classes': 3, 'in_channels': 64},
        },
    ),
}


@pytest.fixture(scope='module')
def bases(tmp_path_factory, randomise):
    """A base file per family."""
    folder = tmp_path_factory.mktemp('bases')
    for family, (cls, options, _) in FAMILIES.items():
        torch.save(randomise(cls(**options)).state_dict(), folder / f'{family}.pth')
    return {family: str(folder / f'{family}.pth') for family in FAMILIES}


@pytest.fixture
def build(bases, randomise):
    """A function that builds a tuned classifier (or, with `kind`, another class of classifier)."""
    register_all_modules(init_default_scope=True)
    import mmsls.integrations.mmpretrain  # noqa: F401

    def run(kind='ImageClassifier', adapter='Convpass', family='vit', backbone=(), **arguments):
        cls, options, after = FAMILIES[family]
        backbone = {
            'type': f'Pruned{cls.__name__}',
            **options,
            'base_checkpoint': bases[family],
            'adapter': {'type': f'mmsls.{adapter}', 'rank': 4},
            **dict(backbone),
        }
        model = MODELS.build({'type': kind, 'backbone': backbone, **after, **arguments})
        return randomise(model, seed=1, only_trainable=True).eval()

    return run


@pytest.fixture
def evidence(build):
    """A function that makes evidence of a model and of features; by default 4 blocks of noise."""

    def run(model=None, features=None, labels=None, seed=0):
        model = build() if model is None else model
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1, 2], 20) if labels is None else labels
        if features is None:
            features = {(0, block): rng.normal(size=(60, 8)).astype(np.float32) for block in range(4)}
        generator = torch.Generator().manual_seed(0)
        batches = [
            {
                'inputs': [
                    torch.randint(0, 255, (3, 32, 32), generator=generator, dtype=torch.uint8) for _ in range(4)
                ],
                'data_samples': [DataSample().set_gt_label(number % 3) for number in range(4)],
            }
            for _ in range(3)
        ]
        return Evidence(model, model.backbone, batches, features, labels, seed)

    return run
