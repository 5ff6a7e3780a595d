"""A slim checkpoint of a real (tiny) mmseg run, by mmseg's own doors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

PICTURE = np.random.default_rng(0).integers(0, 255, (60, 83, 3), dtype=np.uint8)


@pytest.fixture(scope='module', params=['mmseg-swin', 'mmseg-vit'])
def family(request, columns, randomise, tmp_path_factory):
    """A backbone's config and the keys of its base."""
    host = columns[request.param]()
    base = tmp_path_factory.mktemp('base') / 'base.pth'
    state = host.base_of(randomise(host.stock()))
    torch.save(state, base)
    return {**host.tiny, 'type': host.pruned_class.__name__, 'base_checkpoint': str(base)}, set(state)


@pytest.fixture(scope='module')
def cfg(scenes, family, tmp_path_factory):
    classes = (*'0123456789', 'background')
    backbone = family[0]
    widths = [8, 16, 32, 64] if 'Swin' in backbone['type'] else [16, 16, 16]
    dataset = {
        'type': 'BaseSegDataset',
        'data_root': str(scenes),
        'data_prefix': {'img_path': 'train', 'seg_map_path': 'semantic/train'},
        'img_suffix': '.png',
        'seg_map_suffix': '.png',
        'metainfo': {'classes': classes, 'palette': [[20 * i, i, i] for i in range(11)]},
        'pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}, {'type': 'PackSegInputs'}],
    }
    norm = {'type': 'BN'}
    head = {
        'in_index': list(range(len(widths))),
        'pool_scales': (1, 2),
        'channels': 8,
        'num_classes': 11,
        'norm_cfg': norm,
        'align_corners': False,
    }
    return Config(
        {
            'default_scope': 'mmseg',
            'custom_imports': {'imports': ['mmsls.integrations.mmseg'], 'allow_failed_imports': False},
            'model': {
                'type': 'EncoderDecoder',
                'data_preprocessor': {
                    'type': 'SegDataPreProcessor',
                    'mean': [0] * 3,
                    'std': [255] * 3,
                    'size': (96, 96),
                    'pad_val': 0,
                },
                'backbone': {**backbone, 'adapter': {'type': 'mmsls.RepAdapter', 'rank': 4}},
                'decode_head': {'type': 'UPerHead', 'in_channels': widths, **head},
                'train_cfg': {},
                'test_cfg': {'mode': 'whole'},
            },
            'train_dataloader': {
                'batch_size': 2,
                'num_workers': 0,
                'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
                'dataset': dataset,
            },
            'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 2},
            'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.01}},
            'param_scheduler': [{'type': 'PolyLR', 'begin': 0, 'end': 2, 'by_epoch': False}],
            'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 2}},
            'custom_hooks': [{'type': 'mmsls.SlimCheckpointHook'}],
            'test_pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'PackSegInputs'}],
            'work_dir': str(tmp_path_factory.mktemp('seg')),
            'randomness': {'seed': 0},
            'log_level': 'WARNING',
        }
    )


@pytest.fixture(scope='module')
def runner(cfg, build_runner):
    from mmseg.utils import register_all_modules

    import mmsls.integrations.mmseg  # noqa: F401

    register_all_modules(init_default_scope=False)
    runner = build_runner(cfg)
    runner.train()
    return runner


def logits(model):
    from mmseg.apis import inference_model

    return inference_model(model, PICTURE).seg_logits.data


def test_init_model_brings_the_trained_model_back(runner, cfg, family):
    from mmseg.apis import init_model

    path = f'{cfg.work_dir}/iter_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    assert not [key for key in checkpoint['state_dict'] if key.removeprefix('backbone.') in family[1]]
    assert 'decode_head.fpn_bottleneck.bn.running_mean' in checkpoint['state_dict']
    model = init_model(cfg.copy(), path, device='cpu')
    runner.model.cfg = cfg
    assert torch.equal(logits(model), logits(runner.model.eval()))
    assert model.dataset_meta['classes'][-1] == 'background'


def test_init_model_in_a_fresh_process(runner, cfg, tmp_path):
    cfg.dump(tmp_path / 'config.py')
    np.save(tmp_path / 'picture.npy', PICTURE)
    script = (
        'import json, sys, numpy\n'
        'from mmseg.apis import inference_model, init_model\n'
        'model = init_model(sys.argv[1], sys.argv[2], device="cpu")\n'
        'print(json.dumps(inference_model(model, numpy.load(sys.argv[3])).seg_logits.data.flatten().tolist()))\n'
    )
    command = [
        sys.executable,
        '-c',
        script,
        tmp_path / 'config.py',
        f'{cfg.work_dir}/iter_2.pth',
        tmp_path / 'picture.npy',
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )
    fresh = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    runner.model.cfg = cfg
    torch.testing.assert_close(fresh, logits(runner.model.eval()).flatten(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        ({'base_checkpoint': None, 'adapter': None}, 'set base_checkpoint'),
        ({'adapter': {'type': 'mmsls.RepAdapter', 'rank': 8}}, 'adapter'),
    ],
)
def test_init_model_refuses_what_does_not_belong(runner, cfg, change, match):
    from mmseg.apis import init_model

    wrong = cfg.copy()
    wrong.model.backbone.update(change)
    with pytest.raises(ValueError, match=match):
        init_model(wrong, f'{cfg.work_dir}/iter_2.pth', device='cpu')
