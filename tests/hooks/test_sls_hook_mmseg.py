"""SLSHook in real (tiny) mmseg runs, by config alone."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmsls import runs
from mmsls.pruning_index import PruningIndex

SLS = {'type': 'mmsls.SLSHook', 'max_samples': 2000, 'n_jobs': 1}
SLIM = {'type': 'mmsls.SlimCheckpointHook'}


def log_of(folder):
    return ''.join(path.read_text() for path in sorted(folder.glob('2*/*.log')))


@pytest.fixture(scope='module')
def build_runner(build_runner):
    """mmseg's modules must be known too: a config file's custom_imports do it; these configs are built in memory."""
    from mmseg.utils import register_all_modules

    import mmsls.integrations.mmseg  # noqa: F401

    register_all_modules(init_default_scope=False)
    return build_runner


@pytest.fixture(scope='module')
def trained(segmentor_cfg, build_runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    cfg = segmentor_cfg(folder, hooks=[SLS, SLIM])
    build_runner(cfg).train()
    return folder, cfg


def regions_of(dataset) -> int:
    """Count the regions of 4 tokens of 4 x 4 in an image of 64 x 64, in maps of 96 x 96."""
    maps = [dataset[index]['data_samples'].gt_sem_seg.data for index in range(len(dataset))]
    return sum(int((np.unique(one, return_counts=True)[1] * (64 / 96) ** 2 >= 4 * 16).sum()) for one in maps)


def test_training_writes_the_index_at_its_last_validation(trained, build_runner, segmentor_cfg, tmp_path):
    folder, _ = trained
    index = PruningIndex.load(folder / 'pruning_index.json')
    dataset = build_runner(segmentor_cfg(tmp_path)).val_dataloader
    dataset = Runner.build_dataloader(dataset).dataset
    assert (index.scope, index.min_depth) == ('stage', 1)
    assert index.provenance['sampler'] == 'RegionSampler'
    assert index.provenance['dataset'] == 'BaseSegDataset(val)'
    assert index.provenance['samples'] == regions_of(dataset)
    assert len(index.scores) == 9
    lines = [
        json.loads(line) for path in folder.glob('*/vis_data/scalars.json') for line in path.read_text().splitlines()
    ]
    (line,) = [line for line in lines if any('sls/' in key for key in line)]
    assert line['step'] == 4
    assert 'mIoU' in line
    assert not any('qkv' in key for key in torch.load(folder / 'iter_4.pth', weights_only=True)['state_dict'])


@pytest.mark.parametrize('door', ['val', 'test', 'score'])
def test_every_door_writes_the_same_index(trained, segmentor_cfg, build_runner, tmp_path, door):
    folder, _ = trained
    cfg = segmentor_cfg(tmp_path, hooks=[SLS], load_from=str(folder / 'iter_4.pth'))
    if door == 'score':
        runs.score(cfg, cfg.load_from)
    else:
        # mmengine 0.10: `save_best` fails in a stand-alone val(), its CheckpointHook is set up before training only.
        cfg.default_hooks.checkpoint.pop('save_best')
        getattr(build_runner(cfg), door)()
    index, expected = (PruningIndex.load(path / 'pruning_index.json') for path in (tmp_path, folder))
    assert index.scores == expected.scores
    assert index.provenance['order_hash'] == expected.provenance['order_hash']


def test_slide_mode_of_one_crop_scores_like_whole_mode(trained, segmentor_cfg, build_runner, tmp_path):
    folder, _ = trained
    expected = PruningIndex.load(folder / 'pruning_index.json')
    for name, crop, same in (('one', 96, True), ('many', 48, False)):
        cfg = segmentor_cfg(tmp_path / name, hooks=[SLS], load_from=str(folder / 'iter_4.pth'))
        cfg.model.test_cfg = {'mode': 'slide', 'crop_size': (crop, crop), 'stride': (32, 32)}
        build_runner(cfg).test()
        index = PruningIndex.load(tmp_path / name / 'pruning_index.json')
        assert (index.scores == expected.scores) is same
        assert index.provenance['order_hash'] == expected.provenance['order_hash']


def test_two_processes_write_the_same_index(trained, segmentor_cfg, two_processes, tmp_path):
    folder, _ = trained
    two_processes(segmentor_cfg(tmp_path, hooks=[SLS], load_from=str(folder / 'iter_4.pth')))
    index, expected = (PruningIndex.load(path / 'pruning_index.json') for path in (tmp_path, folder))
    assert index.scores == expected.scores
    assert index.provenance['order_hash'] == expected.provenance['order_hash']


# Bad input.


def test_test_time_augmentation_is_tested_and_not_scored(trained, segmentor_cfg, build_runner, tmp_path):
    folder, _ = trained
    cfg = segmentor_cfg(tmp_path, hooks=[SLS], load_from=str(folder / 'iter_4.pth'))
    steps = deepcopy(cfg.test_dataloader.dataset.pipeline)
    flips = [{'type': 'RandomFlip', 'prob': prob, 'direction': 'horizontal'} for prob in (0.0, 1.0)]
    augment = {'type': 'TestTimeAug', 'transforms': [[steps[1]], flips, [steps[2]], [steps[3]]]}
    cfg.test_dataloader.dataset.pipeline = [steps[0], augment]
    cfg.model = {'type': 'SegTTAModel', 'module': cfg.model}
    assert 'mIoU' in build_runner(cfg).test()
    assert re.search(r'SLS: .*(--tta|TestTimeAug)', log_of(tmp_path))
    assert not (tmp_path / 'pruning_index.json').exists()


NO_MAP = [0, 1, 3]
RESIZED_MAP = [0, 2, 1, 3]


@pytest.mark.parametrize(
    ('steps', 'classes', 'match'),
    [
        (NO_MAP, 11, 'comes without ground truth.*LoadAnnotations'),
        (RESIZED_MAP, 11, r'is \(64, 64\), the original image is \(96, 96\).*behind Resize'),
        ([0, 1, 2, 3], 10, r'has the labels \[10\]; the model knows 10 classes'),
    ],
    ids=['no map', 'another size', 'class out of range'],
)
@pytest.mark.parametrize('door', ['score', 'val', 'test', 'train'])
def test_a_bad_map_is_a_clear_error(segmentor_cfg, build_runner, tmp_path, steps, classes, match, door):
    """By every door, before the host's loss or metric stumbles over the map; a stand-alone run gives what it can."""
    cfg = segmentor_cfg(tmp_path, hooks=[SLS])
    pipeline = cfg.val_dataloader.dataset.pipeline
    cfg.val_dataloader.dataset.pipeline = [pipeline[step] for step in steps]
    cfg.test_dataloader = cfg.val_dataloader
    cfg.model.decode_head.num_classes = classes
    if door in ('val', 'test'):
        # mmengine 0.10: `save_best` fails in a stand-alone val(), its CheckpointHook is set up before training only.
        cfg.default_hooks.checkpoint.pop('save_best')
    run = partial(runs.score, cfg, None) if door == 'score' else getattr(build_runner(cfg), door)
    with pytest.raises(ValueError, match=match) if door in ('score', 'train') else suppress(KeyError, IndexError):
        run()
    if door in ('val', 'test'):
        assert re.search(f'this {door} run will not be scored: .*{match}', log_of(tmp_path))
    assert not (tmp_path / 'pruning_index.json').exists()
