"""Every door of a slim checkpoint, with real (tiny) mmdet runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mmcv
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.hooks import Hook

from mmsls.checkpoint import slim

EXTRA = '_extra_state'
SLIM = {'type': 'mmsls.SlimCheckpointHook'}
EMA = {'type': 'EMAHook', 'momentum': 0.3}
# Without dropout nothing in the run is random but what its seed fixes.
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4, 'dropout': 0.0}
PRUNED = (2, 1, 2, 0)


def load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def differing(left, right):
    return [
        key
        for key in left.keys() | right.keys()
        if key not in left or key not in right or not torch.equal(left[key], right[key])
    ]


@pytest.fixture(scope='module')
def tuned(detector_cfg, build_runner, tmp_path_factory):
    """A finished run of two epochs: its folder, its config and its final model."""
    folder = tmp_path_factory.mktemp('tuned')
    cfg = detector_cfg(folder, backbone={'adapter': CONVPASS}, hooks=[SLIM])
    runner = build_runner(cfg)
    runner.train()
    return folder, cfg, runner


@pytest.fixture(scope='module')
def tuned_ema(detector_cfg, build_runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp('tuned_ema')
    cfg = detector_cfg(folder, backbone={'adapter': CONVPASS}, hooks=[EMA, SLIM])
    runner = build_runner(cfg)
    runner.train()
    return folder, cfg, runner


# What is in the file.


@pytest.mark.parametrize('run', ['tuned', 'tuned_ema'])
def test_file_holds_no_base_and_loads_with_weights_only(run, request, base_state, base_file):
    folder, _, runner = request.getfixturevalue(run)
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        checkpoint = load(folder / name)
        states = [(checkpoint['state_dict'], '')]
        if run == 'tuned_ema':
            states.append((checkpoint['ema_state_dict'], 'module.'))
            assert checkpoint['ema_state_dict']['steps'] > 0
        trained = {key for key, p in runner.model.named_parameters() if p.requires_grad}
        for state, prefix in states:
            assert {f'{prefix}{key}' for key in trained} | {f'{prefix}backbone._extra_state'} <= set(state)
            assert not [key for key in state if key.removeprefix(f'{prefix}backbone.') in base_state]
            assert (
                sum(v.numel() for v in state.values())
                < 1.1 * sum(p.numel() for p in runner.model.parameters() if p.requires_grad) + 2000
            )
    assert (folder / 'epoch_1.pth').stat().st_size < 4 * os.path.getsize(base_file)


def test_meta_tells_people_where_it_belongs(tuned, base_file):
    folder, _, runner = tuned
    meta = load(folder / 'epoch_2.pth')['meta']
    assert meta['epoch'] == 2
    assert meta['dataset_meta']['classes'] == tuple('0123456789')
    assert meta['mmsls']['backbones']['backbone'] == {
        'base_checkpoint': base_file,
        'base_sha256': runner.model.backbone.base_sha256,
        'adapter': {'type': 'Convpass', 'rank': 4, 'scale': 1.0, 'dropout': 0.0, 'xavier_init': False},
        'depths': [2, 2, 3, 2],
        'kept_depths': [2, 2, 3, 2],
    }


def test_training_moved_what_it_should(tuned, detector_cfg, build_runner, tmp_path):
    _, _, runner = tuned
    torch.manual_seed(0)
    fresh = build_runner(detector_cfg(tmp_path, backbone={'adapter': CONVPASS})).model
    moved = set(differing(fresh.state_dict(), runner.model.state_dict()))
    assert all('adapters.' in key or '.norm' in key for key in moved if key.startswith('backbone.'))
    assert any('adapters.' in key for key in moved)


# test


def test_test_door(tuned, build_runner, tmp_path):
    folder, cfg, runner = tuned
    again = build_runner({**cfg, 'load_from': str(folder / 'epoch_2.pth'), 'work_dir': str(tmp_path)})
    metrics = again.test()
    assert 'coco/bbox_mAP' in metrics
    assert differing(again.model.state_dict(), runner.model.state_dict()) == []


def test_test_door_of_ema_has_the_averaged_weights(tuned_ema, build_runner, tmp_path):
    folder, cfg, runner = tuned_ema
    hooks = [hook for hook in cfg.custom_hooks if hook['type'] != 'EMAHook']
    again = build_runner(
        {**cfg, 'custom_hooks': hooks, 'load_from': str(folder / 'epoch_2.pth'), 'work_dir': str(tmp_path)}
    )
    again.test()
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model.module
    assert differing(again.model.state_dict(), ema.state_dict()) == []
    assert differing(ema.state_dict(), runner.model.state_dict()) != []


@pytest.fixture(scope='module')
def other_base(mmdet_host, randomise, tmp_path_factory):
    path = tmp_path_factory.mktemp('other') / 'other.pth'
    torch.save(randomise(mmdet_host.stock(), seed=9).state_dict(), path)
    return str(path)


def test_wrong_base_is_refused_by_every_door(tuned, detector_cfg, build_runner, tmp_path, other_base):
    folder, _, _ = tuned
    wrong = {'adapter': CONVPASS, 'base_checkpoint': other_base}
    door = {'load_from': str(folder / 'epoch_2.pth')}
    with pytest.raises(ValueError, match='base_checkpoint'):
        build_runner(detector_cfg(tmp_path, backbone=wrong, **door)).test()
    for resume in (False, True):
        with pytest.raises(ValueError, match='base_checkpoint'):
            build_runner(detector_cfg(tmp_path, backbone=wrong, hooks=[SLIM], resume=resume, **door)).train()
    with pytest.raises(ValueError, match='base_checkpoint'):
        init_detector(detector_cfg(tmp_path, backbone=wrong), door['load_from'], device='cpu')
    with pytest.raises(ValueError, match='set base_checkpoint'):
        init_detector(
            detector_cfg(tmp_path, backbone={'base_checkpoint': None, 'adapter': None}), door['load_from'], device='cpu'
        )


# init_detector


@pytest.fixture(scope='module')
def picture(scenes):
    return str(scenes / 'val/00000.png')


def detections(model, picture):
    found = inference_detector(model, mmcv.imread(picture)).pred_instances
    return [found.scores.tolist(), found.bboxes.tolist(), found.labels.tolist()]


def test_init_detector_here_and_in_a_fresh_process(tuned, picture, tmp_path):
    folder, cfg, runner = tuned
    runner.model.cfg = cfg
    expected = detections(runner.model.eval(), picture)
    assert len(set(expected[0])) > 3
    model = init_detector(cfg, str(folder / 'epoch_2.pth'), device='cpu')
    assert detections(model, picture) == expected
    assert model.dataset_meta['classes'] == tuple('0123456789')
    # From files alone, with nothing of mmsls imported by the caller.
    cfg.dump(tmp_path / 'config.py')
    script = (
        'import json, sys, mmcv\n'
        'from mmdet.apis import inference_detector, init_detector\n'
        'assert not [name for name in sys.modules if name.startswith("mmsls.integrations")]\n'
        'model = init_detector(sys.argv[1], sys.argv[2], device="cpu")\n'
        'found = inference_detector(model, mmcv.imread(sys.argv[3])).pred_instances\n'
        'print(json.dumps([found.scores.tolist(), found.bboxes.tolist(), found.labels.tolist()]))\n'
    )
    command = [sys.executable, '-c', script, tmp_path / 'config.py', folder / 'epoch_2.pth', picture]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )
    fresh = json.loads(done.stdout.splitlines()[-1])
    for ours, theirs in zip(fresh, expected, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs))


def test_init_detector_at_the_pruned_depths(tuned, picture, detector_cfg, tmp_path):
    folder, _, runner = tuned
    pruned = init_detector(
        detector_cfg(tmp_path, backbone={'adapter': CONVPASS, 'kept_depths': PRUNED}),
        str(folder / 'epoch_2.pth'),
        device='cpu',
    )
    state, full = pruned.state_dict(), runner.model.state_dict()
    assert [key for key in state if '_extra_state' not in key and not torch.equal(state[key], full[key])] == []
    assert len(detections(pruned, picture)[0]) > 0


# resume


@pytest.mark.parametrize('run', ['tuned', 'tuned_ema'])
def test_resume_goes_on_as_if_nothing_had_happened(run, request, build_runner, tmp_path):
    """Weights, optimizer, schedule, EMA and log history come back: the second epoch ends bit by bit where it did."""
    folder, cfg, _ = request.getfixturevalue(run)
    resumed = build_runner({**cfg, 'resume': True, 'load_from': str(folder / 'epoch_1.pth'), 'work_dir': str(tmp_path)})
    resumed.train()
    before, after = load(folder / 'epoch_2.pth'), load(tmp_path / 'epoch_2.pth')
    assert not (tmp_path / 'epoch_1.pth').exists()
    for name in ('state_dict', 'ema_state_dict') if run == 'tuned_ema' else ('state_dict',):
        assert differing(before[name], after[name]) == []
    for old, new in zip(before['optimizer']['state'].values(), after['optimizer']['state'].values(), strict=True):
        assert differing(old, new) == []
    assert before['param_schedulers'] == after['param_schedulers']
    for name in ('train/loss', 'train/lr', 'val/coco/bbox_mAP'):
        assert before['message_hub']['log_scalars'][name] == after['message_hub']['log_scalars'][name]
    assert len(after['message_hub']['log_scalars']['train/loss']['history']) == 4
    assert resumed.message_hub.get_scalar('train/loss').mean() == pytest.approx(
        sum(before['message_hub']['log_scalars']['train/loss']['history']) / 4
    )


@pytest.mark.parametrize('hooks', [[SLIM], [EMA, SLIM], []], ids=['slim', 'ema', 'none'])
@pytest.mark.parametrize('kept', [PRUNED, (2, 2, 3, 1)])
def test_resume_at_other_depths_is_refused(tuned, tuned_ema, detector_cfg, build_runner, tmp_path, kept, hooks):
    folder = (tuned_ema if EMA in hooks else tuned)[0]
    cfg = detector_cfg(
        tmp_path,
        backbone={'adapter': CONVPASS, 'kept_depths': kept},
        hooks=hooks,
        resume=True,
        load_from=str(folder / 'epoch_1.pth'),
    )
    with pytest.raises(ValueError, match='resume: the checkpoint' if hooks else 'parameter group'):
        build_runner(cfg).train()


def test_resume_of_a_shallower_run_is_refused(detector_cfg, build_runner, tmp_path):
    pruned = {'adapter': CONVPASS, 'kept_depths': PRUNED}
    build_runner(detector_cfg(tmp_path, backbone=pruned, hooks=[SLIM], epochs=1)).train()
    door = {'resume': True, 'load_from': str(tmp_path / 'epoch_1.pth')}
    with pytest.raises(ValueError, match='kept_depths'):
        build_runner(detector_cfg(tmp_path, backbone={'adapter': CONVPASS}, hooks=[SLIM], **door)).train()
    runner = build_runner(detector_cfg(tmp_path, backbone=pruned, hooks=[SLIM], **door))
    runner.train()
    assert runner.epoch == 2


# load_from: the tuned model's weights are where retraining starts.


@pytest.mark.parametrize('hooks', [[SLIM], [EMA, SLIM]], ids=['slim', 'ema'])
def test_tuned_into_pruned_by_load_from(tuned, detector_cfg, build_runner, tmp_path, hooks):
    folder, _, runner = tuned
    still = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.0}}
    cfg = detector_cfg(
        tmp_path,
        backbone={'adapter': CONVPASS, 'kept_depths': PRUNED},
        hooks=hooks,
        epochs=1,
        optim_wrapper=still,
        load_from=str(folder / 'epoch_2.pth'),
    )
    build_runner(cfg).train()
    full, stored = runner.model.state_dict(), load(tmp_path / 'epoch_1.pth')
    for state, prefix in ((stored['state_dict'], ''), (stored.get('ema_state_dict', {}), 'module.')):
        names = [key for key in state if key.startswith(prefix) and '_extra_state' not in key]
        assert [key for key in names if not torch.equal(state[key], full[key.removeprefix(prefix)])] == []
        assert not [key for key in names if 'stages.3.blocks' in key or 'stages.1.blocks.1' in key]
    assert stored['meta']['mmsls']['backbones']['backbone']['kept_depths'] == list(PRUNED)


def test_without_a_base_checkpoints_stay_complete(detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, backbone={'base_checkpoint': None, 'adapter': None}, hooks=[SLIM], epochs=1)
    runner = build_runner(cfg)
    runner.train()
    assert differing(load(tmp_path / 'epoch_1.pth')['state_dict'], runner.model.state_dict()) == []
    assert 'no backbone has a base_checkpoint' in next(tmp_path.rglob('*.log')).read_text()


# DDP


def test_two_processes_train_without_find_unused_parameters(detector_cfg, two_processes, tmp_path):
    cfg = detector_cfg(tmp_path, backbone={'kept_depths': PRUNED, 'with_cp': True}, hooks=[EMA, SLIM], epochs=3)
    two_processes(cfg)
    first, second = (load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    assert differing(first, second) == []
    saved = load(tmp_path / 'epoch_3.pth')
    assert not [key for key in saved['state_dict'] if 'attn.w_msa' in key]
    sources = {
        key.removeprefix('module.'): value
        for key, value in saved['ema_state_dict'].items()
        if key.startswith('module.')
    }
    assert all(torch.equal(first[key], value) for key, value in sources.items())


def test_a_slim_checkpoint_never_starts_a_random_stock_backbone(detector_cfg, build_runner, tmp_path):
    build_runner(detector_cfg(tmp_path / 'slim', hooks=[SLIM], epochs=1)).train()
    cfg = detector_cfg(tmp_path / 'stock', hooks=[SLIM], load_from=str(tmp_path / 'slim/epoch_1.pth'))
    cfg.model.backbone.type = 'SwinTransformer'
    for name in ('base_checkpoint', 'adapter'):
        cfg.model.backbone.pop(name)
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match=r'leaves the base of model\.backbone out .* SwinTransformer without one'):
        runner.train()
    assert runner.iter == 0


def test_adapters_that_no_output_reads_are_frozen_so_that_two_processes_train(detector_cfg, two_processes, tmp_path):
    cfg = detector_cfg(tmp_path, backbone={'out_indices': (0, 1, 2)}, hooks=[SLIM], epochs=1)
    cfg.model.neck.in_channels = cfg.model.neck.in_channels[:3]
    cfg.model.neck.start_level = 0
    two_processes(cfg)
    first, second = (load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    assert differing(first, second) == []
    assert any(key.startswith('backbone.stages.3') and 'adapters' in key for key in first)


# What of the base was changed, whoever changed it, comes back.


class Thaw(Hook):
    """Trains one tensor of the base in the first epoch only, and moves another through `.data`, as users' hooks do."""

    def __init__(self, runner):
        self.trained = runner.model.backbone.stages[1].blocks[0].norm2.weight
        self.moved = runner.model.backbone.stages[0].blocks[0].ffn.layers[1].bias

    def before_train_epoch(self, runner):
        self.trained.requires_grad_(runner.epoch == 0)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.moved.data.add_(0.5)


CHANGED = ['stages.0.blocks.0.ffn.layers.1.bias', 'stages.1.blocks.0.norm2.weight']


@pytest.fixture(scope='module', params=[[SLIM], [EMA, SLIM]], ids=['slim', 'ema'])
def thawed(request, detector_cfg, build_runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp('thawed')
    cfg = detector_cfg(folder, backbone={'adapter': CONVPASS}, hooks=request.param)
    runner = build_runner(cfg)
    runner.register_hook(Thaw(runner), 'HIGH')
    runner.train()
    return folder, cfg, runner


def test_a_base_tensor_that_was_trained_for_a_while_is_in_the_file(thawed):
    folder, _, runner = thawed
    checkpoint = load(folder / 'epoch_2.pth')
    states = [checkpoint['state_dict']]
    if 'ema_state_dict' in checkpoint:
        states.append({k.removeprefix('module.'): v for k, v in checkpoint['ema_state_dict'].items()})
    for state in states:
        assert all(f'backbone.{key}' in state for key in CHANGED)
        assert not [key for key in state if 'qkv' in key]
    newest = states[-1]
    assert all(torch.equal(newest[f'backbone.{key}'], runner.model.backbone.state_dict()[key]) for key in CHANGED)
    logs = ''.join(path.read_text() for path in folder.rglob('*.log'))
    assert "frozen tensors of model.backbone are not the base's any more and are stored with the task" in logs


def test_it_comes_back_by_test_and_init_detector(thawed, build_runner, tmp_path):
    folder, cfg, _ = thawed
    path = str(folder / 'epoch_2.pth')
    expected = load(path)['state_dict']
    again = build_runner({**cfg, 'custom_hooks': [SLIM], 'load_from': path, 'work_dir': str(tmp_path)})
    again.test()
    for state in (again.model.state_dict(), init_detector(cfg, path, device='cpu').state_dict()):
        assert [key for key in expected if EXTRA not in key and not torch.equal(state[key], expected[key])] == []


def test_it_comes_back_by_resume_and_is_saved_again(thawed, build_runner, tmp_path):
    folder, cfg, _ = thawed
    resumed = build_runner({**cfg, 'resume': True, 'load_from': str(folder / 'epoch_1.pth'), 'work_dir': str(tmp_path)})
    resumed.register_hook(Thaw(resumed), 'HIGH')
    resumed.train()
    before, after = load(folder / 'epoch_2.pth'), load(tmp_path / 'epoch_2.pth')
    for name in ('state_dict', 'ema_state_dict'):
        assert differing(before.get(name, {}), after.get(name, {})) == []


def test_it_comes_back_by_pack_unpack_library_and_merge(thawed, tmp_path):
    from mmsls.deploy.merging import export
    from mmsls.deploy.task_folder import pack, unpack
    from mmsls.deploy.task_library import TaskLibrary

    folder, cfg, _ = thawed
    path = folder / 'epoch_2.pth'
    expected = load(path)['state_dict']
    task = pack(cfg, path, tmp_path / 'task')
    config, weights = unpack(tmp_path / 'task', tmp_path / 'unpacked')
    exported = export(cfg, path, tmp_path / 'full')
    library = TaskLibrary()
    library.open(task.folder, 'one')
    library.open(task.folder, 'two')
    models = [
        library['one'],
        library['two'],
        init_detector(str(config), str(weights), device='cpu'),
        init_detector(str(exported.config), str(exported.checkpoint), device='cpu'),
    ]
    for model in models:
        state = model.state_dict()
        assert [key for key in expected if EXTRA not in key and not torch.equal(state[key], expected[key])] == []
    # The full checkpoint names its base without a file; what of it was changed is known all the same.
    changed = {'meta': {}, 'state_dict': dict(models[-1].state_dict())}
    slim(models[-1], changed)
    assert all(f'backbone.{key}' in changed['state_dict'] for key in CHANGED)


# Doors of the hosts' users.


@pytest.fixture(scope='module')
def stock_detector(detector_cfg, build_runner, tmp_path_factory):
    """A detector of the host's own, trained whole."""
    folder = tmp_path_factory.mktemp('stock')
    cfg = detector_cfg(folder, epochs=1)
    cfg.model.backbone.type = 'SwinTransformer'
    for name in ('base_checkpoint', 'adapter'):
        cfg.model.backbone.pop(name)
    build_runner(cfg).train()
    return str(folder / 'epoch_1.pth')


@pytest.fixture(scope='module')
def published(stock_detector, tmp_path_factory):
    state = torch.load(stock_detector, map_location='cpu', weights_only=False)['state_dict']
    path = tmp_path_factory.mktemp('published') / 'detector.pth'
    torch.save({'meta': {'dataset_meta': {'classes': tuple('0123456789')}}, 'state_dict': state}, path)
    return str(path), state


@pytest.mark.parametrize('hooks', [[SLIM], [EMA, SLIM]], ids=['slim', 'ema'])
@pytest.mark.parametrize('door', ['load_from', 'init_cfg', 'neck'])
def test_training_starts_from_a_trained_detector(published, detector_cfg, build_runner, tmp_path, door, hooks):
    path, state = published
    still = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.0}}
    base = {'base_checkpoint': path, 'adapter': CONVPASS}
    cfg = detector_cfg(tmp_path, backbone=base, hooks=hooks, epochs=1, optim_wrapper=still)
    pretrained = {'type': 'Pretrained', 'checkpoint': path}
    if door == 'load_from':
        cfg.load_from = path
    elif door == 'init_cfg':
        cfg.model.init_cfg = pretrained
    else:
        cfg.model.neck.init_cfg = {**pretrained, 'prefix': 'neck.'}
    build_runner(cfg).train()
    stored = load(tmp_path / 'epoch_1.pth')['state_dict']
    taken = [key for key in stored if key in state and (door != 'neck' or key.startswith('neck.'))]
    assert len(taken) > 10
    assert [key for key in taken if not torch.equal(stored[key], state[key])] == []


def test_another_detector_is_refused_with_the_mend(published, detector_cfg, build_runner, tmp_path):
    cfg = detector_cfg(tmp_path, hooks=[SLIM], load_from=published[0])
    with pytest.raises(ValueError, match=r'the first is patch_embed\S+\. .*Name that same file as base_checkpoint too'):
        build_runner(cfg).train()


def test_the_detector_with_new_adapters_is_tested_with_a_warning(published, detector_cfg, build_runner, tmp_path):
    path, _ = published
    cfg = detector_cfg(tmp_path, backbone={'base_checkpoint': path, 'adapter': CONVPASS}, hooks=[SLIM], load_from=path)
    build_runner(cfg).test()
    assert 'adapter tensors are not in it' in next(tmp_path.rglob('*.log')).read_text()
