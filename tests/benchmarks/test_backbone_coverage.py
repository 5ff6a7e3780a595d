"""The table of backbones: what a config stands on, whether it is supported, and what is said where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))  # scripts, each beside what it imports

from backbone_coverage import Family, backbones_of, compared, shrunk, verdict  # noqa: E402


@pytest.fixture
def mmpretrain():
    from mmpretrain.registry import MODELS
    from mmpretrain.utils import register_all_modules

    import mmsls.integrations.mmpretrain  # noqa: F401

    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')
    return MODELS


def test_backbones_are_found_inside_wrappers():
    model = {'type': 'SoftTeacher', 'detector': {'backbone': {'type': 'ResNet'}}, 'backbone': None}
    assert [found['type'] for found in backbones_of(model)] == ['ResNet']


@pytest.mark.parametrize(
    ('name', 'arguments', 'blocks'),
    [
        ('SwinTransformer', {'arch': 'large'}, {'depths': [2, 2, 2, 2], 'embed_dims': 192}),
        ('VisionTransformer', {'arch': 'h', 'out_indices': (3, 7)}, {'num_layers': 2}),
        ('MoCoV3ViT', {'arch': 'deit-s', 'patch_size': 16}, {'num_layers': 2, 'embed_dims': 384}),
        ('BEiTViT', {'arch': 'eva-g'}, {'num_layers': 2, 'embed_dims': 1408}),
    ],
)
def test_a_model_that_is_compared_has_at_most_two_blocks_a_stage(mmpretrain, name, arguments, blocks):
    found = shrunk(mmpretrain.get(name), {'type': name, **arguments, 'init_cfg': None})
    assert blocks.items() <= found['arch'].items()
    assert 'init_cfg' not in found


def test_what_is_supported_is_compared_and_what_is_not_is_told(mmpretrain):
    small = {'embed_dims': 16, 'num_layers': 3, 'num_heads': 2, 'feedforward_channels': 32}
    vit = {'type': 'VisionTransformer', 'arch': small, 'img_size': 32}
    assert compared('mmpretrain', vit) == 'equal'
    assert compared('mmpretrain', {**vit, 'patch_size': 'x'}).startswith('fails (')
    assert verdict('mmpretrain', 'VisionTransformer', Family([], {'': vit})) == (True, '1 set equal')
    beit = {'type': 'BEiTViT', 'arch': small, 'img_size': 32}
    assert verdict('mmpretrain', 'BEiTViT', Family([], {'': beit})) == (True, '1 set equal')
    mae = verdict('mmpretrain', 'MAEViT', Family([], {'': {**vit, 'type': 'MAEViT'}}))
    assert mae[0]
    assert mae[1].startswith('1 set equal; no patch masked')
    for name, words in {
        'ResNet': 'no attention',
        'MaskFeatViT': 'pre-training',
        'PCPVT': 'no mixin for its blocks',
    }.items():
        arguments = {'type': name, **({'depth': 50} if name == 'ResNet' else {'arch': 'small'})}
        supported, told = verdict('mmpretrain', name, Family([], {'': arguments}))
        assert not supported
        assert words in told
