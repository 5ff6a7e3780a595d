"""The nano Swin: the digits it sees, what its file holds, and that the demo's backbone takes it as its base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmsls.demo import nano_swin
from mmsls.demo.digits import load_digit_pools
from mmsls.demo.nano_swin import NANO_SWIN, PretrainSettings, digit_sheets, pretrain_nano_swin

QUICK = PretrainSettings(epochs=1, batch_size=8, max_steps=3)
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('base') / 'new' / 'nano_swin.pth'
    accuracy = pretrain_nano_swin(path, QUICK)
    assert 0 <= accuracy <= 1
    return path


def test_file_is_an_ordinary_base(base):
    checkpoint = torch.load(base, map_location='cpu', weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict'}
    assert not [key for key in checkpoint['state_dict'] if key.startswith(('backbone.', 'norm', 'head'))]
    blocks = {
        key.split('.blocks.')[0] + key.split('.blocks.')[1].split('.')[0]
        for key in checkpoint['state_dict']
        if '.blocks.' in key
    }
    assert len(blocks) == sum(NANO_SWIN['depths'])
    assert [path.name for path in base.parent.iterdir()] == [base.name]


def test_weights_were_trained(base, tmp_path):
    longer = tmp_path / 'longer.pth'
    pretrain_nano_swin(longer, PretrainSettings(epochs=1, batch_size=8, max_steps=4))
    ours, theirs = (torch.load(path, weights_only=True)['state_dict'] for path in (base, longer))
    assert ours.keys() == theirs.keys()
    key = 'stages.2.blocks.5.attn.w_msa.qkv.weight'
    assert not torch.equal(ours[key], theirs[key])


def test_same_seed_gives_the_same_base(base, tmp_path):
    pretrain_nano_swin(tmp_path / 'again.pth', QUICK)
    ours, theirs = (torch.load(path, weights_only=True)['state_dict'] for path in (base, tmp_path / 'again.pth'))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_base_that_is_there_is_left_alone(base, monkeypatch):
    monkeypatch.setattr(nano_swin, '_train', lambda *_: pytest.fail('trained again'))
    assert pretrain_nano_swin(base, QUICK) == torch.load(base, weights_only=True)['meta']['accuracy']


def test_other_settings_train_again(base, tmp_path):
    path = tmp_path / 'base.pth'
    path.write_bytes(base.read_bytes())
    pretrain_nano_swin(path, PretrainSettings(epochs=1, batch_size=8, max_steps=1))
    assert torch.load(path, weights_only=True)['meta']['settings']['max_steps'] == 1


def test_only_train_digits_are_learnt(base, tmp_path, monkeypatch):
    pools, seen = load_digit_pools(), []
    monkeypatch.setattr(nano_swin, '_train', lambda model, pool, settings: seen.extend(pool.indices))
    pretrain_nano_swin(tmp_path / 'base.pth', QUICK)
    assert sorted(seen) == sorted(pools['train'].indices)


def test_sheets_are_light_on_dark_and_boxes_hold_the_ink():
    pool = load_digit_pools()['train']
    sheets, boxes = digit_sheets(pool, np.arange(12).reshape(3, 4), np.random.default_rng(0))
    assert sheets.shape == (3, 3, 128, 128)
    assert boxes.shape == (3, 4, 128, 128)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (nano_swin.MEAN, nano_swin.STD))
    grey = (sheets * std + mean).mean(1)
    assert grey.min() >= -1e-2
    assert grey.max() <= 255 + 1e-2
    assert boxes.sum(1).max() == 1  # no two overlap
    for sheet, cells in zip(grey, boxes, strict=True):
        paper = sheet[cells.sum(0) == 0]
        assert all((sheet * cell).amax() > paper.quantile(0.99) + 20 for cell in cells)


@pytest.mark.parametrize('name', ['tune', 'baseline'])
def test_the_demo_detector_takes_it(base, name):
    from mmengine.registry import MODELS, init_default_scope

    cfg = Config.fromfile(CONFIGS / 'demo' / f'{name}.py')
    cfg.model.backbone.base_checkpoint = str(base)
    init_default_scope('mmdet')
    backbone = MODELS.build(cfg.model).backbone
    stored = torch.load(base, weights_only=True)['state_dict']
    name_of = 'stages.3.blocks.1.norm2.weight'
    torch.testing.assert_close(backbone.state_dict()[name_of], stored[name_of])
    assert not backbone.get_parameter(name_of).requires_grad
    assert (backbone.adapter_cfg is None) == (name == 'baseline')
