"""Tasks of two toolboxes on one DINOv2-shaped base: together they give what each of them gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmsls import runs
from mmsls.checkpoint import slim
from mmsls.deploy.task_folder import pack
from mmsls.deploy.task_library import TaskLibrary
from mmsls.deploy.task_models import with_imports
from mmsls.deploy.together import TasksTogether

GENERATOR = np.random.default_rng(0)
PICTURES = [GENERATOR.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(2)]
UPPER = {'type': 'mmsls.Convpass', 'rank': 4, 'blocks': [2, 3]}
TINY = {'embed_dim': 16, 'depth': 4, 'num_heads': 2, 'patch_size': 8}
TASKS = {
    'cells': ('mmdet', {'adapter': UPPER}),
    'digits': ('mmdet', {'adapter': {**UPPER, 'type': 'mmsls.LoRA'}, 'kept_depths': 3}),
    'roads': ('mmseg', {'adapter': UPPER, 'kept_depths': 3}),
    'all blocks': ('mmdet', {'adapter': {'type': 'mmsls.Convpass', 'rank': 4}}),
    'slide': ('mmseg', {'adapter': UPPER}),
    'other mean': ('mmdet', {'adapter': UPPER}),
    'other size': ('mmseg', {'adapter': UPPER}),
}


def task_cfg(folder, name, detector_cfg, segmentor_cfg, base):
    toolbox, arguments = TASKS[name]
    cfg = (detector_cfg if toolbox == 'mmdet' else segmentor_cfg)(folder)
    cfg.model.backbone = {
        'type': 'mmsls.PrunedTimmBackbone',
        'model_name': 'vit_small_patch14_reg4_dinov2',
        'img_size': 64,
        'model_args': TINY,
        'out_indices': (0, 1, 2, 3),
        'base_checkpoint': base,
        **arguments,
    }
    reads = cfg.model.neck if toolbox == 'mmdet' else cfg.model.decode_head
    reads.in_channels = [16] * 4
    size = (128, 64) if name == 'other size' else (96, 64)
    cfg.test_dataloader.dataset.pipeline[1].scale = size
    if name == 'slide':
        cfg.model.test_cfg = {'mode': 'slide', 'crop_size': (32, 32), 'stride': (32, 32)}
    if name == 'other mean':
        cfg.model.data_preprocessor.mean = [1, 2, 3]
    return cfg


@pytest.fixture(scope='module')
def library(tmp_path_factory, detector_cfg, segmentor_cfg, randomise):
    from mmsls.backbones.timm.host import created

    home = tmp_path_factory.mktemp('tasks')
    torch.save(randomise(created('vit_small_patch14_reg4_dinov2', 64, TINY)).state_dict(), home / 'base.pth')
    library = TaskLibrary()
    for seed, name in enumerate(TASKS):
        cfg = task_cfg(home, name, detector_cfg, segmentor_cfg, str(home / 'base.pth'))
        model = randomise(runs.build_model(with_imports(cfg)), seed=seed, only_trainable=True)
        checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
        slim(model, checkpoint)
        torch.save(checkpoint, home / 'slim.pth')
        library.open(pack(cfg, home / 'slim.pth', home / name).folder)
    return library


def result(name, sample):
    return sample.seg_logits.data if TASKS[name][0] == 'mmseg' else sample.pred_instances.bboxes


def alone(library, name, picture=PICTURES[0]):
    """What the toolbox's own inference function gives."""
    from mmdet.apis import inference_detector
    from mmseg.apis import inference_model

    init_default_scope(TASKS[name][0])
    return result(name, (inference_model if TASKS[name][0] == 'mmseg' else inference_detector)(library[name], picture))


THREE = ('cells', 'roads', 'digits')


def test_tasks_of_two_toolboxes_and_three_depths_share_a_trunk(library):
    together = library.together(THREE)
    assert together.shared == dict.fromkeys(THREE, 2)
    for number, picture in enumerate(PICTURES, 1):
        found = together(picture)
        assert tuple(found) == THREE
        assert together.runs == number
        for name in THREE:
            expected = alone(library, name, picture)
            assert len(expected)
            assert torch.equal(result(name, found[name]), expected)


def test_a_file_is_read_as_the_toolboxes_read_it(library, tmp_path):
    from mmcv import imwrite

    imwrite(PICTURES[0], str(tmp_path / 'image.png'))
    found = library.together(THREE)(tmp_path / 'image.png')
    assert all(torch.equal(result(name, found[name]), alone(library, name)) for name in THREE)


def test_each_is_an_ordinary_model_for_its_toolbox(library):
    together = library.together(THREE)
    for name in THREE:
        assert torch.equal(alone(together, name), alone(library, name))
    assert together.runs == 1


def test_they_take_no_memory_and_leave_the_librarys_models_alone(library):
    before = alone(library, 'cells')
    together = library.together(THREE)
    ours, theirs = (models['cells'].backbone.model.blocks[3].mlp.fc1.weight for models in (together, library))
    assert ours is not theirs
    assert ours.data_ptr() == theirs.data_ptr()
    together['cells'].half()
    assert torch.equal(alone(library, 'cells'), before)


def test_threads_get_what_one_thread_gets(library):
    together = library.together(THREE)
    jobs = [0, 1] * 4
    expected = [{name: result(name, sample) for name, sample in together(picture).items()} for picture in PICTURES]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: together(PICTURES[job]), jobs))
    for job, samples in zip(jobs, found, strict=True):
        assert all(torch.equal(result(name, sample), expected[job][name]) for name, sample in samples.items())


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('all blocks', r"'all blocks' shares no block: model\.blocks\.0\."),
        ('slide', "'slide' looks at crops of the image"),
        ('other mean', "'cells' and 'other mean' share no trunk, their data_preprocessors have"),
    ],
)
def test_what_cannot_share_is_refused_in_a_line(library, name, words):
    with pytest.raises(ValueError, match=words) as refused:
        library.together(['cells', name])
    assert '\n' not in str(refused.value)


def test_images_of_other_sizes_are_refused_where_they_come_up(library):
    together = library.together(['cells', 'other size'])
    with pytest.raises(ValueError, match=r"'other size' sees the image as 3x64x128 .*'cells' as 3x64x96"):
        together(PICTURES[0])
    assert len(library.together(['cells'])(PICTURES[0])) == 1


def test_unknown_names_and_none_are_refused(library):
    with pytest.raises(KeyError, match=r'no task .other. is open'):
        library.together(['cells', 'other'])
    with pytest.raises(ValueError, match='at least one task'):
        TasksTogether({})


def test_a_task_without_a_pipeline_is_refused(library):
    from mmsls.deploy.image_reader import reader

    cfg = library['cells'].cfg.copy()
    cfg.pop('test_pipeline')
    cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match="the config of 'cells' has no test_pipeline"):
        reader(cfg, 'cells')
