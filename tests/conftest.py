"""Fixtures shared by all tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

SHARED = Path(__file__).resolve().parents[2] / 'shared'
TINY_SWIN = {
    'embed_dims': 8,
    'depths': (2, 2, 3, 2),
    'num_heads': (1, 2, 2, 4),
    'window_size': 4,
    'drop_path_rate': 0.3,
    'drop_rate': 0.1,
}


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f'needs the data folder beside the repository ({SHARED.name}/), which is absent')
    return SHARED


@dataclass(frozen=True)
class Host:
    """One toolbox: its own Swin and ours."""

    name: str
    stock_class: type[nn.Module]
    pruned_class: type[nn.Module]

    def stock(self, **arguments: Any) -> nn.Module:
        """Build the host's own backbone, tiny."""
        return self.stock_class(**{**TINY_SWIN, **arguments})

    def pruned(self, **arguments: Any) -> nn.Module:
        """Build ours, tiny."""
        return self.pruned_class(**{**TINY_SWIN, **arguments})


def load_host(name: str) -> Host:
    if name == 'mmdet':
        from mmdet.models.backbones import SwinTransformer

        from mmsls.integrations.mmdet import PrunedSwinTransformer
    else:
        from mmseg.models.backbones import SwinTransformer

        from mmsls.integrations.mmseg import PrunedSwinTransformer
    return Host(name, SwinTransformer, PrunedSwinTransformer)


@pytest.fixture(scope='session', params=['mmdet', 'mmseg'])
def host(request: pytest.FixtureRequest) -> Host:
    """Each host in turn."""
    return load_host(request.param)


@pytest.fixture(scope='session')
def mmdet_host() -> Host:
    """MMDetection alone, where the host makes no difference."""
    return load_host('mmdet')


@pytest.fixture(scope='session')
def randomise() -> Callable[..., nn.Module]:
    """A function that sets parameters to seeded random values: nothing is zero, one, or equal to another by chance."""

    def run(module: nn.Module, seed: int = 0, only_trainable: bool = False) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad or not only_trainable:
                    # Attention hardly feels small position biases.
                    noise = torch.randn(parameter.shape, generator=generator) * (1.0 if 'bias_table' in name else 0.1)
                    parameter.copy_(noise + 1 if 'norm' in name and name.endswith('weight') else noise)
        return module

    return run


@pytest.fixture(scope='session')
def base_file(tmp_path_factory: pytest.TempPathFactory, mmdet_host: Host, randomise: Callable[..., nn.Module]) -> str:
    """A base checkpoint for TINY_SWIN in OpenMMLab's style, without output norms as ImageNet bases are."""
    model = randomise(mmdet_host.stock())
    state = {key: value for key, value in model.state_dict().items() if not key.startswith('norm')}
    path = tmp_path_factory.mktemp('base') / 'tiny_swin.pth'
    torch.save({'state_dict': state, 'meta': {}}, path)
    return str(path)


@pytest.fixture(scope='session')
def base_state(base_file: str) -> dict[str, torch.Tensor]:
    """The tensors of the base checkpoint."""
    return torch.load(base_file, weights_only=True)['state_dict']


@pytest.fixture(scope='session')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few digit scenes with COCO annotations: 4 images to train on, 7 to validate on."""
    from mmsls.demo.digit_scenes import SceneSettings, make_digit_scenes

    settings = SceneSettings(
        num_images={'train': 4, 'val': 7}, image_size=(96, 96), digits_per_image=(3, 4), digit_size=(20, 32)
    )
    return make_digit_scenes(tmp_path_factory.mktemp('data') / 'scenes', settings)


def digit_loader(scenes: Path, split: str, batch_size: int) -> dict[str, Any]:
    load = [{'type': 'LoadImageFromFile'}, {'type': 'Resize', 'scale': (96, 64), 'keep_ratio': True}]
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    return {
        'batch_size': batch_size,
        'num_workers': 0,
        'sampler': {'type': 'DefaultSampler', 'shuffle': split == 'train'},
        'dataset': {
            'type': 'CocoDataset',
            'data_root': str(scenes),
            'ann_file': f'annotations/{split}.json',
            'data_prefix': {'img': f'{split}/'},
            'metainfo': {'classes': tuple('0123456789')},
            'test_mode': split != 'train',
            'pipeline': [
                *load,
                {'type': 'LoadAnnotations', 'with_bbox': True},
                {'type': 'PackDetInputs', 'meta_keys': keys},
            ],
        },
    }


def retinanet(backbone: Mapping[str, Any]) -> dict[str, Any]:
    anchors = {'octave_base_scale': 4, 'scales_per_octave': 1, 'ratios': [1.0], 'strides': [4, 8, 16, 32]}
    return {
        'type': 'RetinaNet',
        'data_preprocessor': {
            'type': 'DetDataPreprocessor',
            'mean': [0, 0, 0],
            'std': [255, 255, 255],
            'pad_size_divisor': 32,
        },
        'backbone': {'type': 'PrunedSwinTransformer', **TINY_SWIN, **backbone},
        'neck': {'type': 'FPN', 'in_channels': [8, 16, 32, 64], 'out_channels': 8, 'num_outs': 4},
        'bbox_head': {
            'type': 'RetinaHead',
            'num_classes': 10,
            'in_channels': 8,
            'feat_channels': 8,
            'stacked_convs': 1,
            'anchor_generator': {'type': 'AnchorGenerator', **anchors},
        },
        'train_cfg': {
            'assigner': {'type': 'MaxIoUAssigner', 'pos_iou_thr': 0.5, 'neg_iou_thr': 0.4, 'min_pos_iou': 0},
            'sampler': {'type': 'PseudoSampler'},
            'allowed_border': -1,
            'pos_weight': -1,
            'debug': False,
        },
        'test_cfg': {'nms_pre': 50, 'score_thr': 0.0, 'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 10},
    }


@pytest.fixture(scope='session')
def detector_cfg(scenes: Path, base_file: str) -> Callable[..., Config]:
    """A function that writes the config of a whole, tiny mmdet training run with validation."""

    def run(
        work_dir: Path,
        *,
        backbone: Mapping[str, Any] = {},
        hooks: Sequence[Mapping[str, Any]] = (),
        epochs: int = 2,
        **more: Any,
    ) -> Config:
        frozen = {'base_checkpoint': base_file, 'adapter': {'type': 'mmsls.Convpass', 'rank': 4}}
        annotations = str(scenes / 'annotations/val.json')
        return Config(
            {
                'default_scope': 'mmdet',
                'custom_imports': {'imports': ['mmsls.integrations.mmdet'], 'allow_failed_imports': False},
                'model': retinanet({**frozen, **backbone}),
                'train_dataloader': digit_loader(scenes, 'train', 2),
                'val_dataloader': digit_loader(scenes, 'val', 1),
                'test_dataloader': digit_loader(scenes, 'val', 1),
                'val_evaluator': {'type': 'CocoMetric', 'ann_file': annotations, 'metric': 'bbox'},
                'test_evaluator': {'type': 'CocoMetric', 'ann_file': annotations, 'metric': 'bbox'},
                'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': epochs, 'val_interval': 1},
                'val_cfg': {'type': 'ValLoop'},
                'test_cfg': {'type': 'TestLoop'},
                'optim_wrapper': {
                    'type': 'OptimWrapper',
                    'optimizer': {'type': 'AdamW', 'lr': 0.001, 'weight_decay': 0.05},
                },
                'param_scheduler': [{'type': 'LinearLR', 'start_factor': 0.5, 'by_epoch': False, 'begin': 0, 'end': 3}],
                'default_hooks': {
                    'logger': {'type': 'LoggerHook', 'interval': 1},
                    'checkpoint': {'type': 'CheckpointHook', 'interval': 1, 'save_best': 'auto'},
                },
                'custom_hooks': [dict(hook) for hook in hooks],
                'work_dir': str(work_dir),
                'randomness': {'seed': 0},
                'log_level': 'WARNING',
                **more,
            }
        )

    return run


_RUNS = itertools.count()


@pytest.fixture(scope='session')
def build_runner() -> Callable[[Mapping[str, Any]], Runner]:
    """A function that builds a runner from a config. MMEngine keys loggers and message hubs by experiment name and second."""

    def run(cfg: Mapping[str, Any]) -> Runner:
        from mmdet.utils import register_all_modules

        import mmsls.integrations.mmdet  # noqa: F401 (a config file's custom_imports do it; this config is built in memory)

        register_all_modules(init_default_scope=False)
        return Runner.from_cfg(Config({**cfg, 'experiment_name': f'test_{next(_RUNS)}'}))

    return run
