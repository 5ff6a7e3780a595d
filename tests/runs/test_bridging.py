"""Bridges that are fitted: exact where what was removed is affine, left out or refused where they cannot be."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.features.trial import training_images
from mmsls.runs.bridging import tokens_at, unpruned_cfg
from mmsls.runs.configs import with_bridge

KEPT = (2, 1, 1, 0)


@pytest.fixture
def cfg(tmp_path, segmentor_cfg, mmseg_vit_host):
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    import mmsls.integrations.mmseg  # noqa: F401

    return segmentor_cfg(tmp_path, backbone={'kept_depths': KEPT})


@torch.no_grad()
def with_affine_tops(model):
    """Let every block add a vector, so that a bridge can stand in for it exactly."""
    draw = torch.Generator().manual_seed(3)
    for _, block in find_backbone(model).iter_blocks():
        for last in (block.attn.w_msa.proj, block.ffn.layers[1]):
            last.weight.zero_()
            last.bias.normal_(generator=draw)
        block.adapters.clear()
    return model


def plain(cfg):
    cfg = deepcopy(cfg)
    cfg.model.backbone.base_checkpoint = cfg.model.backbone.adapter = None
    return cfg


def logits(model, batch):
    with torch.no_grad():
        return model.test_step(deepcopy(batch))[0].seg_logits.data


def test_affine_blocks_are_bridged_exactly(cfg):
    """On padded maps windows move tokens about; blocks that add a vector don't mind."""
    cfg = plain(cfg)
    full = runs.build_model(unpruned_cfg(cfg))
    for _, block in find_backbone(full).iter_blocks():
        for last in (block.attn.w_msa.proj, block.ffn.layers[1]):
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.normal_(last.bias, generator=torch.Generator().manual_seed(3))
    cut, stale = (runs.build_model(one) for one in (with_bridge(cfg), cfg))
    cut.load_state_dict(full.state_dict(), strict=False)
    stale.load_state_dict(full.state_dict(), strict=False)
    loader = Runner.build_dataloader(runs.split_dataloader(cfg, 'train'), seed=0)
    fitted = runs.fit_bridges(full, cut, loader)
    assert [bridge.target for bridge in fitted] == [(1, 1), (2, 2), (3, 1)]
    assert all(bridge.tokens > 0 for bridge in fitted)
    batch = next(iter(loader))
    wanted = logits(full, batch)
    assert (logits(cut, batch) - wanted).abs().max() < 1e-3 < (logits(stale, batch) - wanted).abs().max()


def test_each_bridge_lowers_what_is_left(cfg):
    """On blocks that are not affine: closer to the full model's tokens than the cut alone, on images not fitted on."""
    full, cut = runs.build_model(unpruned_cfg(cfg)), runs.build_model(with_bridge(cfg))
    cut.load_state_dict(full.state_dict())
    train, val = (Runner.build_dataloader(runs.split_dataloader(cfg, split), seed=0) for split in ('train', 'val'))
    batch, top = next(iter(val)), find_backbone(cut).stages[2].blocks[-1]
    wanted = tokens_at(full, find_backbone(full).stages[2].blocks[2], batch, after=True)[0]
    before = (tokens_at(cut, top, batch, after=True)[0] - wanted).square().mean()
    fitted = runs.fit_bridges(full, cut, train)
    after = (tokens_at(cut, top, batch, after=True)[0] - wanted).square().mean()
    assert after < 0.5 * before
    assert all(bridge.explained > 0.1 for bridge in fitted[:2])


def test_one_that_does_worse_than_none_is_left_out(cfg, said):
    full, cut = runs.build_model(unpruned_cfg(cfg)), runs.build_model(with_bridge(cfg))
    cut.load_state_dict(full.state_dict())
    bridge = find_backbone(cut).stages[3].blocks[-1]
    drawn = torch.Generator().manual_seed(0)

    def noise(*_):
        return torch.randn(1, 4, 64, generator=drawn)

    find_backbone(full).stages[3].blocks[1].register_forward_hook(noise)
    bridge.register_forward_pre_hook(lambda *_: (noise(),))
    fitted = runs.fit_bridges(full, cut, training_images(cfg, 8))
    assert fitted[2].explained < 0
    assert not any(parameter.any() for parameter in bridge.parameters())
    assert any('stage 3, block 1: left out' in line for line in said)


def test_the_checkpoint_is_slim_and_comes_back(cfg, tmp_path):
    source = tmp_path / 'full.pth'
    full = runs.build_model(unpruned_cfg(cfg))
    torch.save({'meta': {'dataset_meta': {'classes': ['a']}}, 'state_dict': full.state_dict()}, source)
    seen = []
    runs.bridge(cfg, str(source), tmp_path / 'out/bridged.pth', on_batch=lambda *done: seen.append(done))
    content = torch.load(tmp_path / 'out/bridged.pth', weights_only=True)
    assert content['meta']['dataset_meta'] == {'classes': ['a']}
    assert content['meta']['mmsls']['backbones']['backbone']['bridge'] is True
    assert content['meta']['mmsls']['backbones']['backbone']['kept_depths'] == list(KEPT)
    assert not any('qkv.weight' in key for key in content['state_dict'])
    model = runs.build_model(with_bridge(cfg), str(tmp_path / 'out/bridged.pth'))
    assert all(bridge.bridge.weight.abs().sum() > 0 for bridge in find_backbone(model).bridges().values())
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]


def test_images_are_drawn_and_counted(cfg):
    assert len(training_images(cfg, 10**6).dataset) > 3
    assert len(training_images(cfg, 3).dataset) == 3
    with pytest.raises(ValueError, match='images is 0'):
        training_images(cfg, 0)


def test_what_nothing_reads_needs_no_bridge_and_that_is_said(cfg, tmp_path, said):
    cfg.model.backbone.update(out_indices=(0, 1, 2), kept_depths=(2, 2, 3, 0))
    cfg.model.decode_head.update(in_index=[0, 1, 2], in_channels=[8, 16, 32])
    source = tmp_path / 'full.pth'
    full = runs.build_model(unpruned_cfg(cfg))
    torch.save({'meta': {}, 'state_dict': full.state_dict()}, source)
    assert runs.bridge(cfg, str(source), tmp_path / 'b.pth') == []
    assert (tmp_path / 'b.pth').exists()
    assert any('no output depends on what kept_depths (2, 2, 3, 0) removes' in line for line in said)


def test_what_cannot_be_bridged_is_refused(cfg, tmp_path):
    source = tmp_path / 'full.pth'
    full = runs.build_model(unpruned_cfg(cfg))
    torch.save({'meta': {}, 'state_dict': full.state_dict()}, source)
    whole = unpruned_cfg(cfg)
    with pytest.raises(ValueError, match='removes nothing'):
        runs.bridge(whole, str(source), tmp_path / 'b.pth')
    with pytest.raises(FileNotFoundError, match=r'no\.pth'):
        runs.bridge(cfg, str(tmp_path / 'no.pth'), tmp_path / 'b.pth')
    cut = runs.build_model(with_bridge(cfg))
    with pytest.raises(ValueError, match='same model at full depth'):
        runs.fit_bridges(cut, cut, DataLoader([]))
    with pytest.raises(ValueError, match='no images'):
        runs.fit_bridges(full, cut, DataLoader([]))
    find_backbone(full).stages[3].norm = None
    with torch.no_grad():
        find_backbone(full).stages[0].blocks[0].norm1.weight.fill_(np.nan)
    with pytest.raises(ValueError, match='NaN'):
        runs.fit_bridges(full, cut, training_images(cfg, 2))
    assert not (tmp_path / 'b.pth').exists()
