"""A tiny ViT and a few digits: one VTAB-1k run in seconds."""

from __future__ import annotations

import itertools

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmpretrain.utils import register_all_modules

from mmsls.vtab.digits import write_digits_task

ARCH = {'embed_dims': 32, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 64}
SWIN = {
    'arch': {'embed_dims': 8, 'depths': (1, 2, 2), 'num_heads': (1, 2, 4)},
    'out_indices': (2,),
    'img_size': 32,
    'window_size': 2,
    'drop_path_rate': 0.0,
}
_NAMES = itertools.count()


@pytest.fixture(scope='session')
def tiny_vit_base(tmp_path_factory, randomise):
    path = tmp_path_factory.mktemp('vit') / 'base.pth'
    torch.save(randomise(VisionTransformer(ARCH, img_size=32, patch_size=8)).state_dict(), path)
    return str(path)


@pytest.fixture(scope='session')
def tiny_swin(tmp_path_factory, randomise):
    """What the model of a task's config becomes with a tiny Swin."""
    path = tmp_path_factory.mktemp('swin') / 'base.pth'
    torch.save(randomise(SwinTransformer(**SWIN)).state_dict(), path)
    adapter = {'type': 'mmsls.Convpass', 'rank': 4}
    backbone = {'type': 'PrunedSwinTransformer', **SWIN, 'base_checkpoint': str(path), 'adapter': adapter}
    head = {'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': 32}
    return {'backbone': backbone, 'neck': {'type': 'GlobalAveragePooling'}, 'head': head}


@pytest.fixture(scope='session')
def digits_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('vtab')
    write_digits_task(root, {'train800': 40, 'val200': 8, 'test': 20})
    return str(root)


def loader(root, ann_file, shuffle):
    steps = [{'type': 'LoadImageFromFile'}, {'type': 'Resize', 'scale': (32, 32)}, {'type': 'PackInputs'}]
    task = {'type': 'mmsls.VTAB1k', 'data_root': root, 'task': 'digits', 'ann_file': ann_file, 'pipeline': steps}
    sampler = {'type': 'DefaultSampler', 'shuffle': shuffle}
    return {'batch_size': 16, 'num_workers': 0, 'sampler': sampler, 'dataset': task}


@pytest.fixture(scope='session')
def vit_cfg(tiny_vit_base, digits_root):
    """A function that writes the config of a task."""

    def run(**more):
        norm = {'mean': [127.0] * 3, 'std': [60.0] * 3, 'to_rgb': True}
        adapter = {'type': 'mmsls.Convpass', 'rank': 4}
        vit = {'arch': ARCH, 'img_size': 32, 'patch_size': 8, 'base_checkpoint': tiny_vit_base, 'adapter': adapter}
        return Config(
            {
                'default_scope': 'mmpretrain',
                'custom_imports': {'imports': ['mmsls.integrations.mmpretrain'], 'allow_failed_imports': False},
                'model': {
                    'type': 'ImageClassifier',
                    'data_preprocessor': {'type': 'ClsDataPreprocessor', **norm},
                    'backbone': {'type': 'PrunedVisionTransformer', **vit},
                    'head': {'type': 'VisionTransformerClsHead', 'num_classes': 10, 'in_channels': 32},
                },
                'train_dataloader': loader(digits_root, 'train800val200.txt', True),
                'test_dataloader': loader(digits_root, 'test.txt', False),
                'test_evaluator': {'type': 'Accuracy', 'topk': (1,)},
                'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 1},
                'test_cfg': {'type': 'TestLoop'},
                'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.01}},
                'param_scheduler': [{'type': 'LinearLR', 'start_factor': 0.1, 'begin': 0, 'end': 1}],
                'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'interval': 1}},
                'custom_hooks': [{'type': 'mmsls.SlimCheckpointHook'}],
                'log_level': 'WARNING',
                **more,
            }
        )

    register_all_modules(init_default_scope=False)
    import mmsls.integrations.mmpretrain  # noqa: F401 (a config file's custom_imports do it)

    return run
