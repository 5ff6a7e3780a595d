"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import itertools
import logging
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from quick_hosts import spare
from torch import nn
from warm_process import run_scripts

# Models here are tiny, and features must not depend on the machine's cores: more threads add in another order.
torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / 'shared'
# On the CPU DDP wants no device, and mmengine names one by default.
CPU_WRAPPER = {'type': 'MMDistributedDataParallel', 'device_ids': None}
TINY_SWIN = {
    'embed_dims': 8,
    'depths': (2, 2, 3, 2),
    'num_heads': (1, 2, 2, 4),
    'window_size': 4,
    'drop_path_rate': 0.3,
    'drop_rate': 0.1,
}
TINY_VIT = {
    'img_size': 64,
    'patch_size': 8,
    'patch_bias': True,
    'embed_dims': 16,
    'num_layers': 4,
    'num_heads': 2,
    'mlp_ratio': 2,
    'final_norm': True,
    'out_indices': (0, 1, 3),
    'drop_path_rate': 0.3,
    'drop_rate': 0.1,
}


def pytest_collection_finish() -> None:
    """Every test file is imported, and the toolboxes with them."""
    gc.collect()
    spare()


# Where runs are scored and what is looked at is seldom the page.
UNDRAWN = {'chain', 'hooks', 'integrations', 'runs', 'vtab'}


@pytest.fixture
def drawn() -> None:
    """For a test that looks at the page of its scoring run."""


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page takes a second to draw: tests that are not about it leave it out; what a whole file shares is drawn."""
    if request.path.parent.name in UNDRAWN and 'drawn' not in request.fixturenames:
        monkeypatch.setattr('mmsls.report.page.write_report', lambda index: Path(index).with_name('report.html'))


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f'needs the data folder beside the repository ({SHARED.name}/), which is absent')
    return SHARED


@dataclass(frozen=True)
class Host:
    """One toolbox's backbone and ours.

    Attributes:
        name: Toolbox and family, as in COLUMNS.
        stock_class: The host's class.
        pruned_class: Ours.
        tiny: Arguments of a tiny one with every block put out, or read by a block that is.
        output_norms: Names of the trainable norms, which a base lacks.
        kept: Depths for tests that prune.
        sizes: Of images that it takes, (H, W), the training size first.
        unmerged: Methods that merge elsewhere and are refused here.
    """

    name: str
    stock_class: type[nn.Module]
    pruned_class: type[nn.Module]
    tiny: Mapping[str, Any]
    output_norms: tuple[str, ...]
    kept: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...] = ((64, 64), (96, 64), (61, 83), (33, 35))
    unmerged: tuple[str, ...] = ()

    @property
    def odd_size(self) -> tuple[int, int]:
        """An image that is no whole number of patches or windows; the training size where it takes no other."""
        return self.sizes[2] if len(self.sizes) > 2 else self.sizes[0]

    def stock(self, **arguments: Any) -> nn.Module:
        """Build the host's own backbone, tiny."""
        return self.stock_class(**{**self.tiny, **arguments})

    def pruned(self, **arguments: Any) -> Any:
        """Build ours, tiny."""
        return self.pruned_class(**{**self.tiny, **arguments})

    def base_of(self, stock: nn.Module) -> dict[str, torch.Tensor]:
        """Return the tensors that a pre-trained base would hold."""
        norms = tuple(f'{norm}.' for norm in self.output_norms)
        return {key: value for key, value in stock.state_dict().items() if not norms or not key.startswith(norms)}


def swin_of(toolbox: str) -> Host:
    backbones = import_module(f'{toolbox}.models.backbones')
    ours = import_module(f'mmsls.integrations.{toolbox}')
    norms = ('norm0', 'norm1', 'norm2', 'norm3')
    return Host(
        f'{toolbox}-swin', backbones.SwinTransformer, ours.PrunedSwinTransformer, TINY_SWIN, norms, (2, 1, 2, 0)
    )


def mmseg_vit() -> Host:
    backbones, ours = import_module('mmseg.models.backbones'), import_module('mmsls.integrations.mmseg')
    return Host('mmseg-vit', backbones.VisionTransformer, ours.PrunedVisionTransformer, TINY_VIT, (), (3,))


def mmseg_beit(name: str) -> Host:
    backbones, ours = import_module('mmseg.models.backbones'), import_module('mmsls.integrations.mmseg')
    tiny = {key: value for key, value in TINY_VIT.items() if key not in ('patch_bias', 'drop_rate')}
    # Its positions are those of one size, and what is beyond a whole patch is left out.
    stock, pruned, sizes = getattr(backbones, name), getattr(ours, f'Pruned{name}'), ((64, 64), (70, 65))
    return Host(f'mmseg-{name.lower()}', stock, pruned, tiny, (), (3,), sizes)


def mmpretrain_swin() -> Host:
    arch = {key: TINY_SWIN[key] for key in ('embed_dims', 'depths', 'num_heads')}
    rest = {key: TINY_SWIN[key] for key in ('window_size', 'drop_path_rate', 'drop_rate')}
    # Windows of 4 and maps of 2: padded, as in the dense hosts. Its output norms are all in its bases, or trained where
    # they are not.
    tiny = {'arch': arch, **rest, 'img_size': 64, 'out_indices': (0, 1, 2, 3), 'pad_small_map': True}
    return replace(swin_of('mmpretrain'), tiny=tiny)


def mmpretrain_vit(kind: str = 'vit', name: str = 'VisionTransformer') -> Host:
    models, ours = import_module('mmpretrain.models'), import_module('mmsls.integrations.mmpretrain')
    arch = {'embed_dims': 16, 'num_layers': 4, 'num_heads': 2, 'feedforward_channels': 32}
    tiny = {'arch': arch, 'img_size': 64, 'patch_size': 8, 'out_type': 'raw', 'out_indices': (0, 1, 3)}
    rest = {'drop_path_rate': 0.3, 'drop_rate': 0.1}
    stock = models.MODELS.get(name)
    return Host(f'mmpretrain-{kind}', stock, getattr(ours, f'Pruned{name}'), {**tiny, **rest}, (), (3,))


def mmpretrain_beit() -> Host:
    return replace(mmpretrain_vit('beit', 'BEiTViT'), sizes=((64, 64), (61, 57)))  # padded to one grid of patches


def mmpretrain_mae() -> Host:
    host = mmpretrain_vit('mae', 'MAEViT')

    class Unmasked(host.stock_class):  # type: ignore[name-defined]
        def forward(self, x):
            return super().forward(x, mask=None)

    return replace(host, stock_class=Unmasked)


def timm_vit(kind: str, model_name: str, width: int = 16, **more: Any) -> Host:
    from mmsls.backbones.timm.backbone import PrunedTimmBackbone
    from mmsls.backbones.timm.host import TimmViT

    args = {'embed_dim': width, 'depth': 4, 'num_heads': 2, 'patch_size': 8, 'drop_path_rate': 0.3, **more}
    tiny = {'model_name': model_name, 'img_size': 64, 'out_indices': (0, 1, 3), 'model_args': args}
    return Host(f'timm-{kind}', TimmViT, PrunedTimmBackbone, tiny, (), (3,))


def timm_swin(kind: str, model_name: str) -> Host:
    from mmsls.backbones.timm.host import TimmSwin
    from mmsls.backbones.timm.swin import PrunedTimmSwin

    args = {'embed_dim': 8, 'depths': (2, 2, 3, 2), 'num_heads': (1, 2, 2, 4), 'window_size': 4, 'drop_path_rate': 0.3}
    tiny = {'model_name': model_name, 'img_size': 64, 'out_indices': (0, 1, 2, 3), 'model_args': args}
    return Host(f'timm-{kind}', TimmSwin, PrunedTimmSwin, tiny, (), (2, 1, 2, 0))


def timm_beit() -> Host:
    host = timm_vit('beit', 'beit_base_patch16_224', init_values=0.1)
    return replace(host, sizes=((64, 64), (61, 57)))  # padded to one grid of patches


# A new host's backbone is one line here: the contract table gets a column.
COLUMNS: dict[str, Callable[[], Host]] = {
    'mmdet-swin': lambda: swin_of('mmdet'),
    'mmseg-swin': lambda: swin_of('mmseg'),
    'mmseg-vit': mmseg_vit,
    'mmpretrain-swin': mmpretrain_swin,
    'mmpretrain-vit': mmpretrain_vit,
    'mmpretrain-deit3': lambda: mmpretrain_vit('deit3', 'DeiT3'),
    'mmpretrain-eva02': lambda: mmpretrain_vit('eva02', 'ViTEVA02'),
    'mmpretrain-mocov3': lambda: mmpretrain_vit('mocov3', 'MoCoV3ViT'),
    'mmpretrain-mae': mmpretrain_mae,
    'mmpretrain-beit': mmpretrain_beit,
    'mmseg-beit': lambda: mmseg_beit('BEiT'),
    'mmseg-mae': lambda: mmseg_beit('MAE'),
    'timm-vit': lambda: timm_vit('vit', 'vit_tiny_patch16_224'),
    'timm-dinov2': lambda: timm_vit('dinov2', 'vit_small_patch14_reg4_dinov2'),
    'timm-dinov3': lambda: timm_vit('dinov3', 'vit_small_patch16_dinov3', 24),
    'timm-eva02': lambda: timm_vit('eva02', 'eva02_base_patch14_224', 24),
    'timm-beit': timm_beit,
    # No norm before the branches could take RepAdapter's shift.
    'timm-swinv2': lambda: replace(timm_swin('swinv2', 'swinv2_tiny_window8_256'), unmerged=('RepAdapter',)),
    'timm-swin': lambda: timm_swin('swin', 'swin_tiny_patch4_window7_224'),
}


@pytest.fixture(scope='session')
def columns() -> dict[str, Callable[[], Host]]:
    """Every host's backbone by name."""
    return COLUMNS


# The whole table for every kind of block would take minutes: `make test-long` has the others. MMSegmentation's Swin
# computes what MMDetection's does; what depends on the host runs in both (`host`).
LONG = (
    'mmseg-swin',
    *('timm-vit', 'timm-dinov3', 'timm-eva02', 'timm-beit', 'timm-swin'),
    *('mmpretrain-eva02', 'mmpretrain-mocov3'),
    *('mmpretrain-mae', 'mmpretrain-beit', 'mmseg-beit', 'mmseg-mae'),
)
# One norm for two branches: not every method fits (tests/backbones/vit/test_others.py).
OUTSIDE = ('mmpretrain-deit3',)
PARAMS = [
    pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in COLUMNS if name not in OUTSIDE
]


@pytest.fixture(scope='session', params=PARAMS)
def column(request: pytest.FixtureRequest) -> Host:
    """Each host's backbone in turn: the columns of the contract table."""
    return COLUMNS[request.param]()


@pytest.fixture(scope='session', params=['mmdet-swin', 'mmseg-swin'])
def host(request: pytest.FixtureRequest) -> Host:
    """Each host's Swin in turn, where the key style is that of `base_file`."""
    return COLUMNS[request.param]()


@pytest.fixture(scope='session')
def mmdet_host() -> Host:
    """MMDetection's Swin alone, where the host makes no difference."""
    return COLUMNS['mmdet-swin']()


@pytest.fixture(scope='session')
def mmseg_vit_host() -> Host:
    """MMSegmentation's ViT alone."""
    return mmseg_vit()


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
                    scales = re.search(r'(norm|ln)[^.]*\.weight$', name)
                    parameter.copy_(noise + 1 if scales else noise)
        return module

    return run


@pytest.fixture(scope='session')
def base_file(tmp_path_factory: pytest.TempPathFactory, mmdet_host: Host, randomise: Callable[..., nn.Module]) -> str:
    """A base checkpoint for TINY_SWIN in OpenMMLab's style, without output norms as ImageNet bases are."""
    state = mmdet_host.base_of(randomise(mmdet_host.stock()))
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


def semantic_loader(scenes: Path, split: str, batch_size: int) -> dict[str, Any]:
    sampler = 'InfiniteSampler' if split == 'train' else 'DefaultSampler'
    load, resize = {'type': 'LoadAnnotations'}, {'type': 'Resize', 'scale': (64, 64)}
    return {
        'batch_size': batch_size,
        'num_workers': 0,
        'sampler': {'type': sampler, 'shuffle': split == 'train'},
        'dataset': {
            'type': 'BaseSegDataset',
            'data_root': str(scenes),
            'data_prefix': {'img_path': split, 'seg_map_path': f'semantic/{split}'},
            'img_suffix': '.png',
            'seg_map_suffix': '.png',
            'metainfo': {'classes': (*'0123456789', 'background'), 'palette': [[20 * i, i, i] for i in range(11)]},
            'test_mode': split != 'train',
            'pipeline': [
                {'type': 'LoadImageFromFile'},
                *([load, resize] if split == 'train' else [resize, load]),
                {'type': 'PackSegInputs'},
            ],
        },
    }


def upernet(backbone: Mapping[str, Any]) -> dict[str, Any]:
    preprocessor = {'type': 'SegDataPreProcessor', 'mean': [0] * 3, 'std': [255] * 3, 'size': (64, 64)}
    head = {'num_classes': 11, 'channels': 8, 'norm_cfg': {'type': 'BN'}, 'align_corners': False}
    return {
        'type': 'EncoderDecoder',
        'data_preprocessor': preprocessor,
        'backbone': {'type': 'PrunedSwinTransformer', **TINY_SWIN, **backbone},
        'decode_head': {
            'type': 'UPerHead',
            'in_channels': [8, 16, 32, 64],
            'in_index': [0, 1, 2, 3],
            'pool_scales': (1, 2),
            **head,
        },
        'train_cfg': {},
        'test_cfg': {'mode': 'whole'},
    }


@pytest.fixture(scope='session')
def segmentor_cfg(scenes: Path, base_file: str) -> Callable[..., Config]:
    """A function that writes the config of a whole, tiny mmseg training run with validation, counted in iterations."""

    import_module('mmsls.integrations.mmseg')  # a config that no file holds imports nothing itself

    def run(
        work_dir: Path,
        *,
        backbone: Mapping[str, Any] = {},
        hooks: Sequence[Mapping[str, Any]] = (),
        iterations: int = 4,
        **more: Any,
    ) -> Config:
        frozen = {'base_checkpoint': base_file, 'adapter': {'type': 'mmsls.Convpass', 'rank': 4}}
        evaluator = {'type': 'IoUMetric', 'iou_metrics': ['mIoU']}
        checkpoint = {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 2, 'save_best': 'mIoU'}
        return Config(
            {
                'default_scope': 'mmseg',
                'custom_imports': {'imports': ['mmsls.integrations.mmseg'], 'allow_failed_imports': False},
                'model': upernet({**frozen, **backbone}),
                'train_dataloader': semantic_loader(scenes, 'train', 2),
                'val_dataloader': semantic_loader(scenes, 'val', 1),
                'test_dataloader': semantic_loader(scenes, 'val', 1),
                'val_evaluator': evaluator,
                'test_evaluator': evaluator,
                'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': iterations, 'val_interval': 2},
                'val_cfg': {'type': 'ValLoop'},
                'test_cfg': {'type': 'TestLoop'},
                'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.001}},
                'param_scheduler': [{'type': 'PolyLR', 'begin': 0, 'end': iterations, 'by_epoch': False}],
                'default_hooks': {
                    'logger': {'type': 'LoggerHook', 'interval': 1, 'log_metric_by_epoch': False},
                    'checkpoint': checkpoint,
                },
                'custom_hooks': [dict(hook) for hook in hooks],
                'log_processor': {'by_epoch': False},
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
    """A function that builds a runner from a config. MMEngine keys loggers and hubs by experiment name and second."""

    def run(cfg: Mapping[str, Any]) -> Runner:
        from mmdet.utils import register_all_modules

        # A config file's custom_imports do it; this config is built in memory.
        import mmsls.integrations.mmdet  # noqa: F401

        register_all_modules(init_default_scope=False)
        return Runner.from_cfg(Config({**cfg, 'experiment_name': f'test_{next(_RUNS)}'}))

    return run


@pytest.fixture(scope='session')
def google_arrays() -> Callable[[nn.Module], dict[str, np.ndarray]]:
    """A function that writes a timm ViT as Google's repository does; the inverse of timm's own reader of such files."""

    def run(model: Any) -> dict[str, np.ndarray]:
        state = {key: value.detach().numpy() for key, value in model.state_dict().items()}
        heads, width = model.blocks[0].attn.num_heads, model.embed_dim
        out = {
            'cls': state['cls_token'],
            'Transformer/posembed_input/pos_embedding': state['pos_embed'],
            'embedding/kernel': state['patch_embed.proj.weight'].transpose(2, 3, 1, 0),
            'embedding/bias': state['patch_embed.proj.bias'],
            'Transformer/encoder_norm/scale': state['norm.weight'],
            'Transformer/encoder_norm/bias': state['norm.bias'],
            'head/kernel': state['head.weight'].T,
            'head/bias': state['head.bias'],
            'pre_logits/kernel': np.zeros((width, width), np.float32),
            'pre_logits/bias': np.zeros(width, np.float32),
        }
        for block in range(len(model.blocks)):
            ours, theirs = f'blocks.{block}.', f'Transformer/encoderblock_{block}/'
            for number, name in (('0', 'norm1'), ('2', 'norm2')):
                out[f'{theirs}LayerNorm_{number}/scale'] = state[f'{ours}{name}.weight']
                out[f'{theirs}LayerNorm_{number}/bias'] = state[f'{ours}{name}.bias']
            for number, name in (('0', 'fc1'), ('1', 'fc2')):
                out[f'{theirs}MlpBlock_3/Dense_{number}/kernel'] = state[f'{ours}mlp.{name}.weight'].T
                out[f'{theirs}MlpBlock_3/Dense_{number}/bias'] = state[f'{ours}mlp.{name}.bias']
            attention = f'{theirs}MultiHeadDotProductAttention_1/'
            for number, name in enumerate(('query', 'key', 'value')):
                rows = slice(number * width, (number + 1) * width)
                out[f'{attention}{name}/kernel'] = state[f'{ours}attn.qkv.weight'][rows].T.reshape(width, heads, -1)
                out[f'{attention}{name}/bias'] = state[f'{ours}attn.qkv.bias'][rows].reshape(heads, -1)
            out[f'{attention}out/kernel'] = state[f'{ours}attn.proj.weight'].T.reshape(heads, -1, width)
            out[f'{attention}out/bias'] = state[f'{ours}attn.proj.bias']
        return out

    return run


@pytest.fixture(scope='session')
def two_gloo_processes() -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs `ddp_worker.py` with some arguments in two processes, and returns what they said."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(__file__).with_name('ddp_worker.py')), *arguments]
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        # All addresses are of this machine itself, whose name need not resolve.
        shared = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': '2', 'GLOO_SOCKET_IFNAME': 'lo'}
        ranks = [{**shared, 'RANK': rank, 'LOCAL_RANK': rank} for rank in ('0', '1')]
        done = run_scripts([command] * 2, ranks)
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope='session')
def two_processes(two_gloo_processes) -> Callable[..., None]:
    """A function that runs a config under DDP in two gloo processes."""

    def run(cfg: Config, task: str = 'run') -> None:
        cfg.merge_from_dict({'launcher': 'pytorch', 'model_wrapper_cfg': CPU_WRAPPER})
        folder = Path(cfg.work_dir)
        folder.mkdir(exist_ok=True)
        cfg.dump(folder / 'config.py')
        two_gloo_processes(task, str(folder / 'config.py'), str(folder))

    return run


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What MMEngine's current logger said during the test; it does not hand records on to pytest's own capture."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, listener = MMLogger.get_current_instance(), Listener()
    logger.addHandler(listener)
    yield lines
    logger.removeHandler(listener)
