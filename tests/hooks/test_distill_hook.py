"""The tuned model's features as a second target: real (tiny) trainings of cut models."""

from __future__ import annotations

import pytest
import torch
from mmengine.hooks import Hook

from mmsls import runs
from mmsls.backbones.lookup import find_backbone
from mmsls.checkpoint import slim
from mmsls.hooks import DistillHook
from mmsls.hooks.distillation import distance

SLIM, EMA = {'type': 'mmsls.SlimCheckpointHook'}, {'type': 'EMAHook', 'momentum': 0.3}
# Without dropout nothing in the run is random but what its seed fixes.
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4, 'dropout': 0.0}
KEPT = (2, 1, 2, 0)
NO_VALIDATION = {'val_dataloader': None, 'val_cfg': None, 'val_evaluator': None}
FAST = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.01}}


def load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def differing(left, right):
    return [key for key in left.keys() | right.keys() if key not in right or not torch.equal(left[key], right[key])]


def logs_in(folder, pattern='*.log'):
    return ''.join(path.read_text() for path in folder.rglob(pattern))


@pytest.fixture(scope='module')
def tuned(detector_cfg, randomise, mmdet_host, tmp_path_factory):
    """A slim checkpoint at full depth, whose adapters do something."""
    folder = tmp_path_factory.mktemp('tuned')
    model = runs.build_model(detector_cfg(folder, backbone={'adapter': CONVPASS}))
    model.init_weights()
    randomise(model.backbone, seed=1, only_trainable=True)
    content = {'meta': {}, 'state_dict': dict(model.state_dict())}
    slim(model, content)
    torch.save(content, folder / 'tuned.pth')
    return folder / 'tuned.pth'


@pytest.fixture(scope='module')
def teaching(tuned):
    """A function that returns the hook's config."""
    return lambda **more: {'type': 'mmsls.DistillHook', 'teacher': str(tuned), **more}


@pytest.fixture(scope='module')
def cut_cfg(detector_cfg, tuned):
    """A function that writes the config of a retraining."""

    def run(work_dir, *, backbone=(), **more):
        cut = {'adapter': CONVPASS, 'kept_depths': KEPT, 'drop_path_rate': 0.0, 'drop_rate': 0.0, **dict(backbone)}
        return detector_cfg(work_dir, backbone=cut, **{'load_from': str(tuned), **NO_VALIDATION, **more})

    return run


@pytest.fixture(scope='module')
def plain(cut_cfg, build_runner, tmp_path_factory):
    """A retraining without the hook: folder and runner."""
    folder = tmp_path_factory.mktemp('plain')
    runner = build_runner(cut_cfg(folder, hooks=[SLIM], epochs=4, optim_wrapper=FAST))
    runner.train()
    return folder, runner


@pytest.fixture(scope='module')
def distilled(cut_cfg, build_runner, teaching, tmp_path_factory):
    """The same with it."""
    folder = tmp_path_factory.mktemp('distilled')
    hooks = [teaching(weight=5.0), SLIM]
    runner = build_runner(cut_cfg(folder, hooks=hooks, epochs=4, optim_wrapper=FAST))
    runner.train()
    return folder, runner


def gap(model, cut_cfg, tuned, folder):
    """Return how far a model's outputs are from the tuned one's, on images of the validation."""
    cfg = cut_cfg(folder)
    student, full = find_backbone(model).eval(), cfg.copy()
    del full.model.backbone['kept_depths']
    teacher = find_backbone(runs.build_model(full, str(tuned)))
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float(distance(student(x), teacher(x), student.cut_outputs()))


def losses(runner, name='loss_distill'):
    return list(runner.message_hub.get_scalar(f'train/{name}').data[0])


# What it does.


def test_features_come_closer_than_without_it(plain, distilled, cut_cfg, tuned, tmp_path):
    before = runs.build_model(cut_cfg(tmp_path), str(tuned))
    first, without, with_it = (gap(m, cut_cfg, tuned, tmp_path) for m in (before, plain[1].model, distilled[1].model))
    assert with_it < 0.8 * min(first, without)


def test_the_loss_is_logged_and_is_part_of_the_whole(plain, distilled):
    _, runner = distilled
    found = losses(runner)
    assert len(found) == 8
    assert 0 < found[-1] < 0.9 * found[0]
    parts = [losses(runner, name) for name in ('loss_cls', 'loss_bbox', 'loss_distill')]
    assert losses(runner, 'loss') == pytest.approx([sum(values) for values in zip(*parts, strict=True)], rel=1e-5)
    assert 'train/loss_distill' not in plain[1].message_hub.log_scalars
    assert '"loss_distill": ' in logs_in(distilled[0], '*.json')


def test_the_first_loss_is_the_distance_times_the_weight(distilled, cut_cfg, teaching, build_runner, tmp_path):
    twice = [teaching(weight=0.2), teaching(weight=0.3)]
    runner = build_runner(cut_cfg(tmp_path, hooks=twice, epochs=1))
    runner.train()
    assert losses(runner)[0] == pytest.approx(0.1 * losses(distilled[1])[0], rel=1e-5)


def test_nothing_of_the_teacher_stays(plain, distilled):
    (folder, without), (other, with_it) = plain, distilled
    left, right = load(folder / 'epoch_4.pth'), load(other / 'epoch_4.pth')
    assert left['state_dict'].keys() == right['state_dict'].keys()
    groups = [[len(group['params']) for group in side['optimizer']['param_groups']] for side in (left, right)]
    assert groups[0] == groups[1]
    assert [n for n, _ in without.model.named_parameters()] == [n for n, _ in with_it.model.named_parameters()]
    for module in (with_it.model, with_it.model.backbone):
        assert not module._forward_hooks
    assert not with_it.model._forward_pre_hooks


def test_a_cut_above_all_that_is_read_is_said_and_leaves_the_training_alone(cut_cfg, build_runner, teaching, tmp_path):
    backbone = {'out_indices': (0, 1), 'kept_depths': (2, 2, 1, 0)}
    hooks = [teaching(teacher='nowhere.pth')]
    cfg = cut_cfg(tmp_path, backbone=backbone, hooks=hooks, epochs=1, load_from=None)
    cfg.model.neck.in_channels = [8, 16]
    runner = build_runner(cfg)
    runner.train()
    assert 'no output depends on what kept_depths=(2, 2, 1, 0) removes' in logs_in(tmp_path)
    assert 'train/loss_distill' not in runner.message_hub.log_scalars


def test_it_says_what_it_costs(cut_cfg, build_runner, teaching, tuned, tmp_path):
    build_runner(cut_cfg(tmp_path, hooks=[teaching()], epochs=1, log_level='INFO')).train()
    (line,) = [line for line in logs_in(tmp_path).splitlines() if 'It costs' in line]
    assert f'compares outputs 1, 2, 3 of 4 with those of {tuned}' in line
    assert '9 blocks without gradients, beside the 5 that are trained' in line


# How trainings are run.


@pytest.mark.parametrize('hooks', [[], [EMA]], ids=['alone', 'ema'])
def test_a_resumed_training_ends_as_an_unbroken_one(cut_cfg, build_runner, teaching, tmp_path, hooks):
    given = {'hooks': [*hooks, teaching(), SLIM], 'backbone': {'bridge': True}, 'epochs': 2}
    whole = runs.train(cut_cfg(tmp_path / 'whole', **given))
    cfg = cut_cfg(tmp_path / 'again', **given)
    cfg.resume, cfg.load_from = True, str(tmp_path / 'whole/epoch_1.pth')
    again = runs.train(cfg)
    assert losses(whole)[-2:] == losses(again)[-2:]
    left, right = (load(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'again'))
    for name in ('state_dict', 'ema_state_dict'):
        assert differing(left.get(name, {}), right.get(name, {})) == []
    assert ('ema_state_dict' in left) == bool(hooks)


def test_gradients_are_accumulated(cut_cfg, build_runner, teaching, tmp_path):
    runner = build_runner(
        cut_cfg(tmp_path, hooks=[teaching()], epochs=2, optim_wrapper={**FAST, 'accumulative_counts': 2})
    )
    runner.train()
    assert len(losses(runner)) == 4
    assert losses(runner)[:2] != losses(runner)[2:]


def test_in_mixed_precision_the_loss_is_computed_in_float32(cut_cfg, build_runner, teaching, tmp_path):
    seen = []
    runner = build_runner(cut_cfg(tmp_path, hooks=[teaching()], epochs=1))
    # MMEngine's AmpOptimWrapper asks for a GPU; what it does to the forward pass is this.
    with torch.autocast('cpu', dtype=torch.bfloat16):
        runner.register_hook(Watch(lambda: runner.model.register_forward_hook(lambda _, __, out: seen.append(out))))
        runner.train()
    found = [out['loss_distill'] for out in seen]
    assert [(loss.dtype, bool(loss.isfinite())) for loss in found] == [(torch.float32, True)] * 2


class Watch(Hook):
    priority = 'LOWEST'

    def __init__(self, begin):
        self.begin = begin

    def before_train(self, runner):
        self.begin()


def test_checkpointed_activations_and_validations_are_no_matter(cut_cfg, teaching, detector_cfg, tmp_path):
    whole = {name: detector_cfg(tmp_path)[name] for name in NO_VALIDATION}
    cfg = cut_cfg(
        tmp_path, hooks=[teaching()], epochs=2, activation_checkpointing=['backbone.stages.0', 'backbone'], **whole
    )
    runner = runs.train(cfg)
    assert len(losses(runner)) == 4
    assert 'val/coco/bbox_mAP' in runner.message_hub.log_scalars
    assert not [name for name in runner.message_hub.log_scalars if 'distill' in name and not name.startswith('train/')]


def test_a_test_needs_no_teacher(distilled, cut_cfg, build_runner, tmp_path):
    folder, _ = distilled
    hooks = [{'type': 'mmsls.DistillHook'}, SLIM]
    runner = build_runner({**cut_cfg(tmp_path, hooks=hooks), 'load_from': str(folder / 'epoch_4.pth')})
    assert 'coco/bbox_mAP' in runner.test()


def test_a_thawed_base_does_not_move_the_teacher(cut_cfg, build_runner, teaching, tmp_path):
    kept = {}

    def thaw():
        hook = next(hook for hook in runner.hooks if isinstance(hook, DistillHook))
        kept['teacher'] = hook.distillation.teacher
        kept['before'] = {key: value.clone() for key, value in kept['teacher'].state_dict().items()}
        runner.model.backbone.requires_grad_(True)

    runner = build_runner(cut_cfg(tmp_path, hooks=[teaching()], epochs=1))
    runner.register_hook(Watch(thaw))
    runner.train()
    assert differing(kept['before'], kept['teacher'].state_dict()) == []


@pytest.mark.long
def test_two_processes_distil_alike(cut_cfg, teaching, two_processes, tmp_path):
    cfg = cut_cfg(tmp_path, hooks=[teaching(), SLIM], epochs=1)
    cfg.load_from = None  # the worker tests what has one
    two_processes(cfg)
    first, second = (load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    assert differing(first, second) == []
    assert '"loss_distill": ' in logs_in(tmp_path, '*.json')


# Other hosts.


@pytest.mark.parametrize('bridge', [False, True])
def test_a_segmentor_on_a_vit_with_its_class_token(segmentor_cfg, mmseg_vit_host, randomise, tmp_path, bridge):
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock())), tmp_path / 'base.pth')
    backbone = {**mmseg_vit_host.tiny, 'type': 'PrunedVisionTransformer', 'output_cls_token': True, 'adapter': CONVPASS}
    backbone |= {'base_checkpoint': str(tmp_path / 'base.pth'), 'out_indices': (0, 1, 2, 3)}
    cfg = segmentor_cfg(tmp_path / 'run', hooks=[SLIM], **NO_VALIDATION)
    cfg.model.backbone = backbone
    readout = {'type': 'DPTHead', 'in_channels': [16] * 4, 'in_index': [0, 1, 2, 3], 'embed_dims': 16, 'channels': 8}
    readout |= {'post_process_channels': [8] * 4, 'readout_type': 'project', 'input_transform': 'multiple_select'}
    cfg.model.decode_head = {**readout, 'num_classes': 11, 'norm_cfg': {'type': 'BN'}, 'align_corners': False}
    tuned = runs.build_model(cfg)
    torch.save({'state_dict': randomise(tuned, only_trainable=True).state_dict()}, tmp_path / 'tuned.pth')
    cfg.custom_hooks = [{'type': 'mmsls.DistillHook', 'teacher': str(tmp_path / 'tuned.pth')}, SLIM]
    cfg.model.backbone |= {'kept_depths': 2, 'bridge': bridge}
    cfg.experiment_name = f'bridge_{bridge}'  # runs that begin in one second share their messages otherwise
    runner = runs.train(cfg)
    assert len(losses(runner)) == 4
    assert find_backbone(runner.model).cut_outputs() == [2, 3]


# Bad input.


@pytest.mark.parametrize('weight', [0, -1.0, True, '1', float('nan'), float('inf'), None])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match=r'DistillHook: weight must be a number above 0, got'):
        DistillHook('tuned.pth', weight)


@pytest.mark.parametrize(
    ('backbone', 'hook', 'error', 'message'),
    [
        ({'kept_depths': None}, {}, ValueError, r'the model keeps all of its \(2, 2, 3, 2\) blocks'),
        ({}, {'teacher': None}, ValueError, 'teacher is not set'),
        ({}, {'teacher': 'nowhere.pth'}, FileNotFoundError, r"no file at 'nowhere\.pth'"),
    ],
)
def test_what_cannot_be_distilled_is_refused(cut_cfg, build_runner, teaching, tmp_path, backbone, hook, error, message):
    with pytest.raises(error, match=message):
        build_runner(cut_cfg(tmp_path, backbone=backbone, hooks=[teaching(**hook)], load_from=None)).train()


def test_a_backbone_that_is_not_trained_is_refused(cut_cfg, build_runner, teaching, tmp_path):
    runner = build_runner(cut_cfg(tmp_path, hooks=[teaching()]))
    runner.model.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match='nothing in the backbone is trained'):
        runner.train()


def test_a_teacher_that_is_cut_is_refused(distilled, cut_cfg, build_runner, teaching, tmp_path):
    hook = teaching(teacher=str(distilled[0] / 'epoch_4.pth'))
    with pytest.raises(ValueError, match=r'tuned before the cut: kept_depths: this checkpoint holds \(2, 1, 2, 0\)'):
        build_runner(cut_cfg(tmp_path, hooks=[hook])).train()


def test_a_model_with_its_own_way_of_making_losses_is_refused(cut_cfg, build_runner, teaching, tmp_path):
    runner = build_runner(cut_cfg(tmp_path, hooks=[teaching()]))
    runner.model._run_forward = lambda data, mode: runner.model.loss(data['inputs'], data['data_samples'])
    with pytest.raises(ValueError, match=r'RetinaNet makes its losses outside forward'):
        runner.train()
