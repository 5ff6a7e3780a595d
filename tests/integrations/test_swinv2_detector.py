"""timm's Swin v2 inside a real (tiny) mmdet run: scored by the hook, cut by stages, served beside the whole one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector

from mmsls.checkpoint import slim
from mmsls.deploy.task_folder import pack
from mmsls.deploy.task_library import TaskLibrary
from mmsls.pruning_index import PruningIndex

HOOKS = [
    {'type': 'mmsls.SLSHook', 'scope': 'stage', 'reference': 'peak', 'alpha': 0.9, 'max_samples': 100},
    {'type': 'mmsls.SlimCheckpointHook'},
]
PICTURE = np.random.default_rng(0).integers(0, 255, (60, 83, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def swin_cfg(detector_cfg, columns, randomise, tmp_path_factory):
    """A function that writes a RetinaNet over timm's Swin v2."""
    host = columns['timm-swinv2']()
    base = tmp_path_factory.mktemp('base') / 'swin.pth'
    torch.save(host.base_of(randomise(host.stock())), base)

    def run(work_dir, **backbone):
        cfg = detector_cfg(work_dir, hooks=HOOKS, epochs=1)
        adapter = {'type': 'mmsls.Convpass', 'rank': 2}
        settings = {'type': 'mmsls.PrunedTimmBackbone', 'base_checkpoint': str(base), 'adapter': adapter}
        cfg.model.backbone = {**host.tiny, **settings, **backbone}
        return cfg

    return run


@pytest.fixture(scope='module')
def tuned(swin_cfg, build_runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp('swinv2')
    cfg = swin_cfg(folder)
    build_runner(cfg).train()
    return folder, cfg


def test_the_hook_scores_every_block_of_every_stage(tuned):
    index = PruningIndex.load(tuned[0] / 'pruning_index.json')
    assert index.foundation.depths == (2, 2, 3, 2)
    assert len(index.scores) == 9
    assert all(np.isfinite(list(index.scores.values())))


def test_tasks_of_two_depths_share_the_base(tuned, swin_cfg, tmp_path):
    folder, cfg = tuned
    whole = pack(cfg, folder / 'epoch_1.pth', tmp_path / 'whole').folder
    kept = (2, 1, 2, 1)
    cut = swin_cfg(tmp_path, kept_depths=kept)
    model = init_detector(cut, str(folder / 'epoch_1.pth'), device='cpu')
    checkpoint = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'cut.pth')
    pruned = pack(cut, tmp_path / 'cut.pth', tmp_path / 'cut').folder
    library = TaskLibrary(device='cpu')
    tasks = [library.open(path) for path in (whole, pruned)]
    assert [task.backbone.kept_depths for task in tasks] == [(2, 2, 3, 2), kept]
    frozen = [
        {p.data_ptr() for name, p in task.backbone.named_parameters() if 'adapters' not in name} for task in tasks
    ]
    assert frozen[1] < frozen[0]
    for task, alone in zip(tasks, (init_detector(cfg, str(folder / 'epoch_1.pth'), device='cpu'), model), strict=True):
        found, expected = (inference_detector(one, PICTURE).pred_instances for one in (task, alone))
        assert torch.equal(found.scores, expected.scores)
