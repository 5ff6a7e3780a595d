"""The small Swin: a base that fits its configs, made from training splits alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))  # scripts, each beside what it imports

from pretrain_swin import SMALL_SWIN, SmallSwinSettings, pretrain_small_swin  # noqa: E402
from small_images import sources  # noqa: E402

QUICK = SmallSwinSettings(steps=2, batch_size=6)


@pytest.fixture(scope='module')
def base(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('base') / 'small_swin.pth'
    pretrain_small_swin(path, shared / 'data', QUICK)
    return path


def test_the_base_fits_the_backbone_that_the_configs_name(base: Path) -> None:
    import mmsls.integrations.mmdet  # noqa: F401

    cfg = Config.fromfile(ROOT / 'configs/_base_/backbones/small_swin.py').backbone
    assert {key: cfg[key] for key in SMALL_SWIN} == SMALL_SWIN
    backbone = MODELS.build({**cfg, 'type': 'mmdet.PrunedSwinTransformer', 'base_checkpoint': str(base)})
    stored = torch.load(base, weights_only=True)['state_dict']
    assert torch.equal(backbone.patch_embed.projection.weight, stored['patch_embed.projection.weight'])


def test_the_same_base_is_not_made_twice(base: Path, tmp_path: Path) -> None:
    before = base.stat().st_mtime_ns
    accuracy = pretrain_small_swin(base, tmp_path / 'nowhere', QUICK)
    assert set(accuracy) == {'digits', 'sign_digits', 'camvid'}
    assert base.stat().st_mtime_ns == before


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='sign_digits'):
        pretrain_small_swin(tmp_path / 'base.pth', tmp_path, QUICK)
    assert not (tmp_path / 'base.pth').exists()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_every_source_has_classes_of_its_own(shared: Path, split: str) -> None:
    bounds = {'digits': (0, 10), 'sign_digits': (10, 20), 'camvid': (20, 31)}
    for name, draw in sources(shared / 'data', split).items():
        images, labels = draw(40, np.random.default_rng(0))
        low, high = bounds[name]
        assert images.shape == (40, 3, 64, 64)
        assert images.abs().max() < 4  # normalised
        assert bool(((labels >= low) & (labels < high)).all())
        assert len(labels.unique()) > 3
