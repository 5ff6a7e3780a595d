"""A tiny classifier whose blocks differ in known ways, and features with known structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules

from mmsls.criteria import Evidence

ARCH = {'embed_dims': 32, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 64}


@pytest.fixture(scope='module')
def vit_base(tmp_path_factory, randomise):
    path = tmp_path_factory.mktemp('vit') / 'base.pth'
    torch.save(randomise(VisionTransformer(ARCH, img_size=32, patch_size=8)).state_dict(), path)
    return str(path)


@pytest.fixture
def build(vit_base, randomise):
    """A function that builds a tuned classifier (or, with `kind`, another class of classifier)."""
    register_all_modules(init_default_scope=True)
    import mmsls.integrations.mmpretrain  # noqa: F401

    def run(kind='ImageClassifier', adapter='Convpass', **arguments):
        backbone = {
            'type': 'PrunedVisionTransformer',
            'arch': ARCH,
            'img_size': 32,
            'patch_size': 8,
            'base_checkpoint': vit_base,
            'adapter': {'type': f'mmsls.{adapter}', 'rank': 4},
        }
        head = {'type': 'VisionTransformerClsHead', 'num_classes': 3, 'in_channels': 32}
        model = MODELS.build({'type': kind, 'backbone': backbone, 'head': head, **arguments})
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
