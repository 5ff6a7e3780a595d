"""Slim checkpoints in models that wrap the detector: test-time augmentation, DDP, both, a teacher and a student."""

from __future__ import annotations

from pathlib import Path

import mmdet
import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel, MMDistributedDataParallel
from mmengine.runner import load_checkpoint
from torch import nn
from warm_process import run_script

from mmsls import runs
from mmsls.checkpoint import check_has_base, describe, slim
from mmsls.hooks.slim_checkpoint_hook import unwrapped

SLIM = {'type': 'mmsls.SlimCheckpointHook'}
FLIPS = [{'type': 'RandomFlip', 'prob': 0.0}, {'type': 'RandomFlip', 'prob': 1.0}]
KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


@pytest.fixture(scope='module')
def detector(detector_cfg, build_runner, tmp_path_factory):
    """A config with test-time augmentation as mmdet's users write it, and a slim checkpoint of its model."""
    folder = tmp_path_factory.mktemp('detector')
    cfg = detector_cfg(folder, hooks=[SLIM], epochs=1)
    resize = {'type': 'Resize', 'scale': (96, 64), 'keep_ratio': True}
    augment = [
        [resize],
        FLIPS,
        [{'type': 'LoadAnnotations', 'with_bbox': True}],
        [{'type': 'PackDetInputs', 'meta_keys': KEYS}],
    ]
    tta = {'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 10}
    cfg.tta_model = {'type': 'DetTTAModel', 'tta_cfg': tta}
    cfg.tta_pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'TestTimeAug', 'transforms': augment}]
    build_runner(cfg).train()
    return cfg, str(folder / 'epoch_1.pth')


@pytest.fixture(scope='module')
def segmentor(segmentor_cfg, tmp_path_factory):
    folder = tmp_path_factory.mktemp('segmentor')
    cfg = segmentor_cfg(folder, hooks=[SLIM], iterations=2)
    augment = [
        [{'type': 'Resize', 'scale': (64, 64)}],
        FLIPS,
        [{'type': 'LoadAnnotations'}],
        [{'type': 'PackSegInputs'}],
    ]
    cfg.tta_model = {'type': 'SegTTAModel'}
    cfg.tta_pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'TestTimeAug', 'transforms': augment}]
    return cfg, str(folder / 'iter_2.pth')


def stock(host, tool, *arguments):
    return run_script(Path(host.__file__).parent / '.mim/tools' / tool, *arguments)


def test_mmdets_own_test_with_tta(detector, tmp_path):
    cfg, checkpoint = detector
    cfg.dump(tmp_path / 'config.py')
    done = stock(mmdet, 'test.py', tmp_path / 'config.py', checkpoint, '--tta', '--work-dir', tmp_path / 'test')
    assert done.returncode == 0, done.stderr[-2000:]


def test_mmsegs_own_test_with_tta(segmentor, tmp_path):
    cfg, checkpoint = segmentor
    cfg.dump(tmp_path / 'config.py')
    for tool, arguments in (('train.py', ()), ('test.py', (checkpoint, '--tta', '--work-dir', tmp_path / 'test'))):
        done = stock(mmseg, tool, tmp_path / 'config.py', *arguments)
        assert done.returncode == 0, done.stderr[-2000:]


def with_tta(cfg):
    """What mmdet's test.py makes of a config and `--tta`."""
    cfg = Config(cfg.to_dict())
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = {**cfg.tta_model, 'module': cfg.model}
    return cfg


def test_our_test_with_a_tta_model(detector, build_runner, tmp_path):
    cfg, checkpoint = detector
    cfg = with_tta(cfg)
    cfg.work_dir = str(tmp_path)
    seen = []
    assert 'coco/bbox_mAP' in runs.test(cfg, checkpoint, prepare=seen.append)
    stored = torch.load(checkpoint, weights_only=True)['state_dict']
    assert isinstance(seen[0].model, BaseTTAModel)
    loaded = seen[0].model.module.state_dict()
    assert [key for key in stored if not torch.equal(stored[key], loaded[key])] == []


def test_a_tta_model_without_the_base_is_refused(detector, build_runner, tmp_path):
    cfg, checkpoint = detector
    cfg = with_tta(cfg)
    cfg.work_dir, cfg.load_from = str(tmp_path), checkpoint
    cfg.model.module.backbone.type = 'SwinTransformer'
    for name in ('base_checkpoint', 'adapter'):
        cfg.model.module.backbone.pop(name)
    with pytest.raises(ValueError, match=r'leaves the base of model\.backbone out'):
        build_runner(cfg).test()


class Augmented(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def test_step(self, data):
        return data


def test_wrappers_are_looked_through_in_any_order(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        bare = Bare()
        wrapped = [bare, Augmented(bare), MMDistributedDataParallel(bare), Augmented(MMDistributedDataParallel(bare))]
        wrapped.append(MMDistributedDataParallel(Augmented(bare)))
        for model in wrapped:
            assert unwrapped(type('Runner', (), {'model': model})) is bare
    finally:
        torch.distributed.destroy_process_group()


# A teacher and a student.


@pytest.fixture
def semi(detector):
    """mmdet's semi-supervised detector around the same detector twice."""

    def run(detector_of):
        settings = {'semi_train_cfg': {'freeze_teacher': True}, 'semi_test_cfg': {'predict_on': 'teacher'}}
        preprocessor = {'type': 'MultiBranchDataPreprocessor', 'data_preprocessor': detector_of['data_preprocessor']}
        model = {'type': 'SemiBaseDetector', 'detector': detector_of, 'data_preprocessor': preprocessor, **settings}
        return runs.build_model(Config({'default_scope': 'mmdet', 'model': model}))

    return lambda: run(detector[0].model.to_dict())


def test_a_slim_detector_becomes_teacher_and_student(semi, detector):
    model, path = semi(), detector[1]
    stored = torch.load(path, weights_only=True)
    check_has_base(model, stored)
    load_checkpoint(model, path, map_location='cpu')
    for part in (model.teacher, model.student):
        assert [k for k, v in stored['state_dict'].items() if not torch.equal(v, part.state_dict()[k])] == []


def test_teacher_and_student_are_slimmed_and_come_back(semi, randomise, tmp_path):
    model = randomise(semi(), only_trainable=True)
    model.teacher.backbone.patch_embed.norm.weight.data.add_(
        1
    )  # as a moving average would, where the student trains it
    checkpoint = {'meta': {}, 'state_dict': model.state_dict()}
    slim(model, checkpoint)
    assert {'teacher.backbone', 'student.backbone'} == set(checkpoint['meta']['mmsls']['backbones'])
    assert not [key for key in checkpoint['state_dict'] if 'qkv' in key]
    torch.save(checkpoint, tmp_path / 'semi.pth')
    again = semi()
    check_has_base(again, checkpoint)
    load_checkpoint(again, str(tmp_path / 'semi.pth'), map_location='cpu')
    expected = model.state_dict()
    assert [
        k for k, v in again.state_dict().items() if '_extra_state' not in k and not torch.equal(v, expected[k])
    ] == []


def test_a_teacher_is_no_plain_detector(semi, detector, tmp_path):
    """Its keys have another prefix: MMEngine would log them and go on with new adapters."""
    model = semi()
    checkpoint = {'meta': {}, 'state_dict': {k: v for k, v in model.state_dict().items() if k.startswith('teacher.')}}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'teacher.pth')
    plain = runs.build_model(detector[0])
    check_has_base(plain, checkpoint)
    with pytest.raises(ValueError, match=r"at 'teacher\.backbone\.', the model at 'backbone\.'.*revise_keys"):
        load_checkpoint(plain, str(tmp_path / 'teacher.pth'), map_location='cpu')
    revised = [(r'^teacher\.backbone\.', 'backbone.'), (r'^teacher\.', '')]
    load_checkpoint(plain, str(tmp_path / 'teacher.pth'), map_location='cpu', revise_keys=revised)
    assert torch.equal(plain.backbone.norm0.weight, model.teacher.backbone.norm0.weight)


def test_a_base_that_stands_nowhere_is_refused(semi, detector):
    model = semi()
    described = describe(runs.build_model(detector[0]))
    described['backbones']['backbone']['base_sha256'] = 'f' * 64
    with pytest.raises(ValueError, match=r'leaves the base of model\.backbone out'):
        check_has_base(model, {'meta': {'mmsls': described}})
