"""A shipped config of each host, with only the backbone's type changed and the import line added, predicts the same."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

PICTURE = np.random.default_rng(0).integers(0, 255, (97, 130, 3), dtype=np.uint8)


def ours(cfg, host, **backbone):
    """Change what a user changes."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.type = 'PrunedSwinTransformer'
    cfg.model.backbone.update(backbone)
    cfg.custom_imports = {'imports': [f'mmsls.integrations.{host}'], 'allow_failed_imports': False}
    return cfg


def reload(cfg, tmp_path):
    """Write the config and read it, which is when `custom_imports` take effect."""
    cfg.dump(tmp_path / 'config.py')
    return Config.fromfile(tmp_path / 'config.py')


def save(model, path, meta):
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return str(path)


def test_mmdet_retinanet(tmp_path, randomise):
    from mmdet.apis import inference_detector, init_detector
    from mmengine.hub import get_config

    cfg = get_config('mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py')
    assert cfg.model.backbone.type == 'SwinTransformer'
    # Random weights never pass the threshold of a trained head, and 1333x800 is slow; neither touches the backbone.
    cfg.model.test_cfg.score_thr = 0.0
    cfg.test_dataloader.dataset.pipeline[1].scale = (200, 160)
    stock = init_detector(copy.deepcopy(cfg), None, device='cpu')
    randomise(stock.backbone)
    with torch.no_grad():
        stock.bbox_head.retina_cls.weight.mul_(0.1)  # scores that differ, short of 1
    path = save(stock, tmp_path / 'full.pth', {'dataset_meta': {'classes': tuple(map(str, range(80)))}})

    def predict(config):
        model = init_detector(config, path, device='cpu')
        found = inference_detector(model, PICTURE).pred_instances
        with torch.no_grad():
            return found, model.backbone(torch.from_numpy(PICTURE).permute(2, 0, 1)[None].float() / 255)

    expected, features = predict(copy.deepcopy(cfg))
    assert len(expected) == 100
    assert expected.scores.unique().numel() > 90
    exact, _ = predict(reload(ours(cfg, 'mmdet', fused_attention=False), tmp_path))
    for name in ('scores', 'bboxes', 'labels'):
        assert torch.equal(exact[name], expected[name]), name
    fused, fused_features = predict(reload(ours(cfg, 'mmdet'), tmp_path))
    assert max((a - b).abs().max() for a, b in zip(features, fused_features, strict=True)) < 1e-4
    torch.testing.assert_close(fused.scores, expected.scores, atol=1e-3, rtol=0)
    assert (fused.labels == expected.labels).float().mean() > 0.95


@pytest.mark.parametrize('name', ['swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'])
def test_mmseg_upernet(tmp_path, randomise, name):
    import mmseg
    from mmseg.apis import inference_model, init_model

    # By path: under the maintained forks `mmseg::` looks for a distribution of another name.
    cfg = Config.fromfile(Path(mmseg.__path__[0]) / '.mim/configs/swin' / name)
    assert cfg.model.backbone.type == 'SwinTransformer'
    cfg.test_pipeline[1].scale = (160, 128)
    # The shipped heads are 512 channels wide; narrow ones spare the test a minute.
    cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 32
    stock = init_model(copy.deepcopy(cfg), None, device='cpu')
    randomise(stock.backbone)
    meta = {'dataset_meta': {'classes': tuple(map(str, range(150))), 'palette': [[i, i, i] for i in range(150)]}}
    path = save(stock, tmp_path / 'full.pth', meta)

    def predict(config):
        return inference_model(init_model(config, path, device='cpu'), PICTURE)

    expected = predict(copy.deepcopy(cfg))
    assert expected.pred_sem_seg.data.unique().numel() > 1
    exact = predict(reload(ours(cfg, 'mmseg', fused_attention=False), tmp_path))
    assert torch.equal(exact.seg_logits.data, expected.seg_logits.data)
    fused = predict(reload(ours(cfg, 'mmseg'), tmp_path))
    torch.testing.assert_close(fused.seg_logits.data, expected.seg_logits.data, atol=1e-3, rtol=0)
    assert (fused.pred_sem_seg.data == expected.pred_sem_seg.data).float().mean() > 0.99
