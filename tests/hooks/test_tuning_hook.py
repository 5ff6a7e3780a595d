"""What should learn learns, or the log says what does not: real (tiny) runs."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.logging import MMLogger

ROWS = [
    'AdaptFormer',
    'BitFit',
    'Bottleneck',
    'Convpass',
    'HeadOnly',
    'LoRA',
    'Mona',
    'NormTuning',
    'RepAdapter',
    'SSF',
]
SLIM, SLS = {'type': 'mmsls.SlimCheckpointHook'}, {'type': 'mmsls.SLSHook', 'max_samples': 100, 'n_jobs': 1}
# What 49 of mmdet's Swin configs say of a backbone, and how Mask2Former's add its norms.
STOCK = {
    'custom_keys': {
        'backbone': {'lr_mult': 0.1, 'decay_mult': 1.0},
        'backbone.norm': {'lr_mult': 0.1, 'decay_mult': 0.0},
        'backbone.stages.0.blocks.0.norm': {'lr_mult': 0.1, 'decay_mult': 0.0},
        'absolute_pos_embed': {'lr_mult': 0.1, 'decay_mult': 0.0},
        'relative_position_bias_table': {'lr_mult': 0.1, 'decay_mult': 0.0},
    }
}
UNREAD = {'start_level': 1, 'in_channels': [8, 16, 32, 64], 'out_channels': 8, 'num_outs': 4, 'type': 'FPN'}


def optimising(paramwise_cfg=None, **more):
    wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.001, 'weight_decay': 0.05}}
    return {**wrapper, **({'paramwise_cfg': paramwise_cfg} if paramwise_cfg else {}), **more}


@pytest.fixture
def said(monkeypatch):
    """Every line that goes to a logger of MMEngine's, and its level."""
    lines = []
    monkeypatch.setattr(MMLogger, 'callHandlers', lambda _, record: lines.append((record.levelno, record.getMessage())))
    return lines


def warnings(said):
    return [text for level, text in said if level >= logging.WARNING and 'not all that is trained learns' in text]


@pytest.fixture
def train(detector_cfg, build_runner, tmp_path):
    """Train a detector for an epoch of two steps, without validation, and return its runner."""

    def run(*, hooks=(SLIM,), epochs=1, **more):
        work_dir = tmp_path / 'run'
        # The step sizes of the first iterations are what counts: no noise from dropout.
        runner = build_runner(
            detector_cfg(
                work_dir, hooks=hooks, epochs=epochs, val_dataloader=None, val_cfg=None, val_evaluator=None, **more
            )
        )
        runner.train()
        return runner

    return run


def rates(runner):
    """Return each trained tensor's rate before the schedule, and now."""
    names = {id(p): name for name, p in runner.model.named_parameters() if p.requires_grad}
    groups = runner.optim_wrapper.optimizer.param_groups
    return {names[id(p)]: (g['initial_lr'], g['lr']) for g in groups for p in g['params'] if id(p) in names}


# Healthy runs.


@pytest.mark.parametrize('adapter', ROWS)
def test_a_healthy_run_is_not_warned_of(train, said, adapter):
    train(backbone={'adapter': {'type': f'mmsls.{adapter}'}})
    assert warnings(said) == []


@pytest.mark.parametrize('adapter', ROWS)
def test_a_healthy_vit_in_mmseg_is_not_warned_of(
    segmentor_cfg, build_runner, mmseg_vit_host, randomise, said, tmp_path, adapter
):
    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock())), tmp_path / 'base.pth')
    cfg = segmentor_cfg(tmp_path / 'run', hooks=[SLIM], val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.model.backbone = {
        'type': 'PrunedVisionTransformer',
        **mmseg_vit_host.tiny,
        'base_checkpoint': str(tmp_path / 'base.pth'),
        'adapter': {'type': f'mmsls.{adapter}'},
    }
    head = {'type': 'FCNHead', 'in_channels': 16, 'in_index': 2, 'channels': 8, 'num_convs': 1, 'num_classes': 11}
    cfg.model.decode_head = {**head, 'norm_cfg': {'type': 'BN'}, 'align_corners': False}
    cfg.model.auxiliary_head = [{**cfg.model.decode_head, 'in_index': index} for index in (0, 1)]
    build_runner(cfg).train()
    assert warnings(said) == []


def test_it_works_with_accumulated_gradients(train, said):
    runner = train(optim_wrapper=optimising(accumulative_counts=2), epochs=2)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'TuningHook')
    assert (hook.steps, hook.watch) == (1, None)
    assert warnings(said) == []


# Own rates.


@pytest.mark.parametrize('hooks', [[SLIM], [SLS], [SLIM, SLS]], ids=lambda hooks: str(len(hooks)))
@pytest.mark.parametrize('paramwise', [STOCK, {'custom_keys': {'backbone': {'lr_mult': 0.0}}}], ids=['0.1', '0.0'])
def test_what_is_new_in_a_slowed_backbone_learns_at_the_optimizers_rate(
    detector_cfg, build_runner, tmp_path, said, hooks, paramwise
):
    runner = build_runner(detector_cfg(tmp_path, hooks=hooks, epochs=1, optim_wrapper=optimising(paramwise)))
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters() if p.requires_grad}
    runner.train()
    assert {initial for initial, _ in rates(runner).values()} == {0.001}
    assert len({now for _, now in rates(runner).values()}) == 1  # the warm-up is the same for all
    still = [name for name, p in runner.model.named_parameters() if name in before and torch.equal(p, before[name])]
    assert still == []
    (line,) = [text for _, text in said if 'own rate' in text]
    assert "custom_keys['backbone'].lr_mult=" in line
    assert 'own_lr=False' in line
    assert '0.001' in line
    assert warnings(said) == []


def test_weight_decay_stays_as_the_config_has_it(train):
    runner = train(optim_wrapper=optimising(STOCK))
    names = {id(p): name for name, p in runner.model.named_parameters()}
    decays = {names[id(p)]: g['weight_decay'] for g in runner.optim_wrapper.optimizer.param_groups for p in g['params']}
    assert decays['backbone.norm0.weight'] == 0
    assert decays['backbone.stages.0.blocks.0.adapters.attn_parallel.up.weight'] == 0.05


@pytest.mark.parametrize('adapter', ['BitFit', 'NormTuning', 'LoRA'])
def test_selected_and_layer_adapters_have_their_own_rate_too(train, adapter):
    runner = train(optim_wrapper=optimising(STOCK), backbone={'adapter': {'type': f'mmsls.{adapter}'}})
    assert {initial for initial, _ in rates(runner).values()} == {0.001}


@pytest.mark.parametrize('key', ['adapters', 'backbone.stages.3.blocks.0.adapters', 'backbone.norm3'])
def test_a_key_that_names_the_tensor_itself_counts(train, said, key):
    runner = train(optim_wrapper=optimising({'custom_keys': {'backbone': {'lr_mult': 0.1}, key: {'lr_mult': 0.5}}}))
    for name, (initial, _) in rates(runner).items():
        assert initial == (0.0005 if key in name else 0.001), name


def test_own_lr_false_keeps_the_configs_rates_and_the_check_names_what_hardly_learns(train, said):
    hook = {'type': 'mmsls.TuningHook', 'own_lr': False}
    runner = train(optim_wrapper=optimising({'custom_keys': {'backbone': {'lr_mult': 0.001}}}), hooks=[SLIM, hook])
    assert {initial for initial, _ in rates(runner).values()} == {0.001, 1e-6}
    assert [text for _, text in said if 'own rate' in text] == []
    (line,) = warnings(said)
    assert 'adapters' in line
    assert "optim_wrapper.paramwise_cfg.custom_keys['backbone'].lr_mult=0.001" in line
    assert 'own_lr' in line


def test_auto_scaled_rates_are_scaled_for_adapters_as_well(train):
    runner = train(optim_wrapper=optimising(STOCK), auto_scale_lr={'enable': True, 'base_batch_size': 4})
    assert {initial for initial, _ in rates(runner).values()} == {0.0005}


def test_a_resumed_run_goes_on_at_its_own_rates(train):
    train(optim_wrapper=optimising(STOCK))
    runner = train(optim_wrapper=optimising(STOCK), epochs=2, resume=True)
    assert runner.epoch == 2
    assert {initial for initial, _ in rates(runner).values()} == {0.001}
    assert len({now for _, now in rates(runner).values()}) == 1


def test_a_run_begun_at_the_configs_rates_resumes_at_its_own(train, said):
    """As a checkpoint from before `TuningHook`: MMEngine restores the rates of the checkpoint."""
    train(optim_wrapper=optimising(STOCK), hooks=[SLIM, {'type': 'mmsls.TuningHook', 'own_lr': False}])
    assert [text for _, text in said if 'own rate' in text] == []
    runner = train(optim_wrapper=optimising(STOCK), epochs=2, resume=True)
    assert {initial for initial, _ in rates(runner).values()} == {0.001}
    assert len({now for _, now in rates(runner).values()}) == 1
    assert [text for _, text in said if 'own rate' in text]


# What does not learn.


@pytest.mark.parametrize(
    'named', [['backbone.stages.0', 'backbone.stages.3'], ['backbone'], 'backbone', ['backbone', 'neck', 'bbox_head']]
)
def test_activation_checkpointing_trains_adapters(train, said, named):
    runner = train(activation_checkpointing=named)
    assert runner.iter == 2
    assert warnings(said) == []


def test_activation_checkpointing_of_a_neck_behind_a_frozen_backbone(detector_cfg, build_runner, tmp_path, said):
    cfg = detector_cfg(
        tmp_path, hooks=[SLIM], epochs=1, backbone={'adapter': None}, activation_checkpointing=['neck', 'bbox_head']
    )
    runner = build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.neck.named_parameters()}
    runner.train()
    assert [name for name, p in runner.model.neck.named_parameters() if torch.equal(p, before[name])] == []
    assert warnings(said) == []


def test_a_cut_graph_is_warned_of_once(detector_cfg, build_runner, tmp_path, said):
    runner = build_runner(detector_cfg(tmp_path, hooks=[SLIM], epochs=1))
    runner.model.backbone.register_forward_hook(lambda _, __, outs: tuple(out.detach() for out in outs))
    runner.train()
    (line,) = warnings(said)
    assert 'had no gradient in 1 optimizer step ' in line
    assert 'backbone.' in line
    assert 'detach' in line


def test_an_output_that_no_loss_reads_is_warned_of_with_the_line_that_mends_it(
    detector_cfg, build_runner, tmp_path, said
):
    cfg = detector_cfg(tmp_path, hooks=[SLIM], epochs=1)
    cfg.model.neck = UNREAD
    cfg.model.neck.num_outs = 4
    build_runner(cfg).train()
    (line,) = warnings(said)
    assert 'backbone.norm0.weight' in line
    assert 'model.backbone.out_indices=(1, 2, 3)' in line


def test_tensors_in_no_optimizer_are_warned_of(detector_cfg, build_runner, tmp_path, said):
    runner = build_runner(detector_cfg(tmp_path, hooks=[SLIM], epochs=1))
    heads = [*runner.model.neck.parameters(), *runner.model.bbox_head.parameters()]
    runner.optim_wrapper = {'type': 'OptimWrapper', 'optimizer': torch.optim.AdamW(heads, lr=0.001)}
    runner.train()
    (line,) = warnings(said)
    assert 'in no optimizer' in line
    assert 'adapters' in line


def test_check_false_says_nothing(detector_cfg, build_runner, tmp_path, said):
    runner = build_runner(detector_cfg(tmp_path, hooks=[SLIM, {'type': 'mmsls.TuningHook', 'check': False}], epochs=1))
    runner.model.backbone.register_forward_hook(lambda _, __, outs: tuple(out.detach() for out in outs))
    runner.train()
    assert warnings(said) == []


@pytest.mark.parametrize('priority', ['VERY_HIGH', 'LOWEST'])
def test_it_is_there_whatever_the_priority_of_the_hook_that_adds_it(detector_cfg, build_runner, tmp_path, priority):
    cfg = detector_cfg(tmp_path, hooks=[{**SLIM, 'priority': priority}], epochs=1, optim_wrapper=optimising(STOCK))
    runner = build_runner(cfg)
    runner.train()
    assert [type(hook).__name__ for hook in runner.hooks].count('TuningHook') == 1
    assert {initial for initial, _ in rates(runner).values()} == {0.001}


@pytest.mark.long
def test_two_processes_train_with_activation_checkpointing_and_a_slowed_backbone(detector_cfg, two_processes, tmp_path):
    named = ['backbone.stages.0', 'backbone.stages.3', 'neck']
    cfg = detector_cfg(
        tmp_path, hooks=[SLIM], epochs=1, optim_wrapper=optimising(STOCK), activation_checkpointing=named
    )
    two_processes(cfg)
    first, second = (torch.load(tmp_path / f'rank{rank}.pth', weights_only=True) for rank in (0, 1))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    ups = [value for key, value in first.items() if key.endswith('up.weight')]  # they start at zero
    assert len(ups) == 18
    assert all(up.any() for up in ups)
    groups = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['optimizer']['param_groups']
    assert {group['initial_lr'] for group in groups} == {0.001}
