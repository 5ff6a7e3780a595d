"""Heads fitted anew: better on images that were not seen, left alone where that is worse, refused where not linear."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.features.trial import training_images
from mmsls.runs.refitting import matrix_of

KEPT = (2, 1, 1, 0)


@pytest.fixture
def cfg(tmp_path, segmentor_cfg, mmseg_vit_host):
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    import mmsls.integrations.mmseg  # noqa: F401

    cfg = segmentor_cfg(tmp_path, backbone={'kept_depths': KEPT})
    cfg.model.decode_head.norm_cfg = None  # random features of some size, without statistics of any training
    return cfg


def saved(model, path, **meta):
    torch.save({'meta': meta, 'state_dict': model.state_dict()}, path)
    return str(path)


@torch.no_grad()
def agreement(model, cfg):
    """Mean over the classes of the share of their pixels that a segmentor finds in the validation images."""
    right, total = torch.zeros(11), torch.zeros(11)
    for batch in Runner.build_dataloader(runs.split_dataloader(cfg, 'val'), seed=0):
        for sample in model.test_step(deepcopy(batch)):
            truth, found = sample.gt_sem_seg.data.flatten(), sample.pred_sem_seg.data.flatten()
            right += torch.bincount(truth[truth == found], minlength=11)
            total += torch.bincount(truth, minlength=11)
    return (right / total).mean()


def test_classes_that_stand_in_the_features_are_all_found(cfg):
    """Of images that are their own maps, in features that are their classes: every class, where it lies."""
    data = cfg.val_dataloader.dataset
    data.data_prefix.img_path = data.data_prefix.seg_map_path
    resize = next(step for step in data.pipeline if step.type == 'Resize')
    resize.scale, resize.interpolation = (192, 192), 'nearest'  # every pixel becomes four
    cfg.train_dataloader.dataset = data
    cfg.model.data_preprocessor.size = (192, 192)
    cfg.model.decode_head.channels = 11
    model = runs.build_model(cfg)
    head = model.decode_head

    def features(images):
        return torch.nn.functional.one_hot((images[:, 0] * 255).round().long(), 11).movedim(-1, 1).float()

    model.extract_feat, head.forward = features, lambda inputs: head.conv_seg(inputs)
    fitted = runs.fit_head(model, training_images(cfg, 7))
    assert fitted.better
    assert fitted.after.accuracy > 0.8  # some classes are in one image alone
    assert agreement(model, cfg) == 1


def test_a_checkpoint_with_the_new_layer_is_slim_and_comes_back(cfg, tmp_path, randomise):
    model = randomise(runs.build_model(cfg), only_trainable=True)
    source, seen = saved(model, tmp_path / 'cut.pth', dataset_meta={'classes': ['a']}), []
    fitted = runs.refit(cfg, source, tmp_path / 'out/refitted.pth', on_batch=lambda *done: seen.append(done))
    assert fitted.better
    assert (fitted.name, fitted.samples) == ('UPerHead', 4 * 16 * 16)
    assert fitted.after.accuracy > fitted.before.accuracy + 0.1
    content = torch.load(tmp_path / 'out/refitted.pth', weights_only=True)
    assert content['meta']['dataset_meta'] == {'classes': ['a']}
    assert not any('qkv.weight' in key for key in content['state_dict'])
    after = runs.build_model(cfg, str(tmp_path / 'out/refitted.pth'))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    changed = [key for key, value in model.state_dict().items() if not torch.equal(after.state_dict()[key], value)]
    assert changed == ['decode_head.conv_seg.weight', 'decode_head.conv_seg.bias']


def test_crops_of_slide_mode_are_followed(cfg, randomise):
    model = randomise(runs.build_model(cfg), only_trainable=True)
    whole = runs.fit_head(deepcopy(model), training_images(cfg, 4))
    cfg.model.test_cfg = {'mode': 'slide', 'crop_size': (64, 64), 'stride': (32, 32)}
    sliding = runs.build_model(cfg)
    sliding.load_state_dict(model.state_dict())
    assert runs.fit_head(sliding, training_images(cfg, 4)) == whole  # one crop is the image


def test_a_layer_that_a_refitted_one_is_no_better_than_stays(cfg, randomise, said):
    model = randomise(runs.build_model(cfg), only_trainable=True)
    runs.fit_head(model, training_images(cfg, 4))
    before = matrix_of(model.decode_head.conv_seg)
    fitted = runs.fit_head(model, training_images(cfg, 4))  # it has seen the images that the new one is judged on
    assert not fitted.better
    assert (matrix_of(model.decode_head.conv_seg) == before).all()
    assert any('UPerHead: last layer left as it was' in line for line in said)


def test_what_is_not_linear_is_refused_by_name(cfg, tmp_path, detector_cfg):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    detector = detector_cfg(tmp_path)
    with pytest.raises(ValueError, match='refit: RetinaHead: its classes are not read off'):
        runs.check_refits(detector)
    source = saved(runs.build_model(detector), tmp_path / 'detector.pth')
    with pytest.raises(ValueError, match='refit: RetinaHead'):
        runs.refit(detector, source, tmp_path / 'out.pth')
    with pytest.raises(FileNotFoundError, match=r'no\.pth'):
        runs.refit(cfg, str(tmp_path / 'no.pth'), tmp_path / 'out.pth')
    cfg.model.decode_head.num_classes, cfg.model.decode_head.out_channels = 2, 1
    cfg.model.decode_head.threshold = 0.5
    with pytest.raises(ValueError, match='refit: UPerHead: its conv_seg has one output'):
        runs.check_refits(cfg)
    assert not (tmp_path / 'out.pth').exists()


def test_images_that_say_nothing_are_refused(cfg):
    model = runs.build_model(cfg)
    with pytest.raises(ValueError, match='there is one image'):
        runs.fit_head(model, training_images(cfg, 1))
    find_backbone(model).stages[0].blocks[0].norm1.weight.data.fill_(float('nan'))
    with pytest.raises(ValueError, match='NaN'):
        runs.fit_head(model, training_images(cfg, 2))


def test_two_processes_fit_one_layer_to_every_image_once(cfg, tmp_path, two_gloo_processes, randomise):
    source = saved(randomise(runs.build_model(cfg), only_trainable=True), tmp_path / 'cut.pth')
    cfg.dump(tmp_path / 'config.py')
    tool = str(Path(__file__).resolve().parents[2] / 'tools/refit.py')
    given = str(tmp_path / 'config.py'), source, '--images', '3', '--out', str(tmp_path / 'refitted.pth')
    done = two_gloo_processes('tool', tool, *given)
    assert f'({3 * 16 * 16} samples' in done.stdout  # the third image is there twice
    model = runs.build_model(cfg, source)
    runs.fit_head(model, training_images(cfg, 3))
    layers = (
        matrix_of(model.decode_head.conv_seg),
        matrix_of(runs.build_model(cfg, str(tmp_path / 'refitted.pth')).decode_head.conv_seg),
    )
    assert layers[0].shape == layers[1].shape
    assert np.corrcoef(layers[0].ravel(), layers[1].ravel())[0, 1] > 0.99
