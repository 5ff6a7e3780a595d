"""Rates of new tensors inside a frozen backbone, with the hosts' optimizers, constructors and schedules."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from mmsls.hooks.own_rates import give_own_rates, new_tensors, optimizers
from mmsls.hooks.tuning_hook import TuningHook

BASE = 0.01
SLOW = {'custom_keys': {'backbone': {'lr_mult': 0.1}}}


class Model(nn.Module):
    """A frozen backbone with adapters, and a head."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, 2)


@pytest.fixture(scope='module')
def model(columns, randomise, tmp_path_factory):
    host = columns['mmpretrain-vit']()
    path = tmp_path_factory.mktemp('base') / 'vit.pth'
    torch.save(host.base_of(randomise(host.stock())), path)
    return Model(host.pruned(base_checkpoint=str(path), adapter={'type': 'mmsls.Convpass', 'rank': 4}))


def built(model, optim_wrapper, schedules=()):
    """Return what a runner has when its hooks' `before_run` comes."""
    cfg = Config({'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': BASE, 'weight_decay': 0.05}, **optim_wrapper}})
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return runner_of(
        cfg, wrapper, [PARAM_SCHEDULERS.build({'optimizer': wrapper, **schedule}) for schedule in schedules]
    )


def runner_of(cfg, wrapper, schedulers):
    return SimpleNamespace(cfg=cfg, optim_wrapper=wrapper, param_schedulers=schedulers)


def run(model, runner):
    return [tensor for one in optimizers(runner) for tensor in give_own_rates(model, one)]


def rates(model, wrapper):
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    return {names[id(p)]: g['lr'] for g in wrapper.optimizer.param_groups for p in g['params'] if id(p) in names}


def course(runner, steps=12):
    """Return each step's rates as the schedules go on."""
    found = []
    for _ in range(steps):
        found.append([group['lr'] for group in runner.optim_wrapper.optimizer.param_groups])
        runner.optim_wrapper.step()
        for scheduler in runner.param_schedulers:
            scheduler.step()
    return found


SCHEDULES = {
    'none': [],
    'warm-up': [{'type': 'LinearLR', 'start_factor': 0.001, 'end': 5, 'by_epoch': False}],
    'warm-up from 0': [{'type': 'LinearLR', 'start_factor': 1e-12, 'end': 5, 'by_epoch': False}],
    'warm-up and cosine': [
        {'type': 'LinearLR', 'start_factor': 0.1, 'end': 5, 'by_epoch': False},
        {'type': 'CosineAnnealingLR', 'begin': 5, 'T_max': 5, 'end': 10, 'eta_min': 1e-4, 'by_epoch': False},
    ],
    'poly': [{'type': 'PolyLR', 'eta_min': 1e-4, 'power': 0.9, 'end': 10, 'by_epoch': False}],
    'steps': [{'type': 'ConstantLR', 'factor': 0.3, 'end': 3}, {'type': 'MultiStepLR', 'milestones': [4, 8]}],
    'restarts': [{'type': 'CosineRestartLR', 'periods': [4, 8], 'restart_weights': [1.0, 0.5], 'eta_min': 0.0}],
}


@pytest.mark.parametrize('schedule', SCHEDULES)
@pytest.mark.parametrize('multiplier', [0.1, 0.0])
def test_raised_rates_follow_the_schedule_as_if_the_config_had_never_slowed_them(model, schedule, multiplier):
    same = {'custom_keys': {'backbone': {'lr_mult': 1.0}}}
    expected = course(built(model, {'paramwise_cfg': same}, SCHEDULES[schedule]))
    runner = built(
        model, {'paramwise_cfg': {'custom_keys': {'backbone': {'lr_mult': multiplier}}}}, SCHEDULES[schedule]
    )
    raised = run(model, runner)
    assert {tensor.name for tensor in raised} == {name for name, _ in new_tensors(model).values()}
    assert {tensor.old for tensor in raised} == {BASE * multiplier}
    assert run(model, runner) == []
    for ours, theirs in zip(course(runner), expected, strict=True):
        assert ours == pytest.approx(theirs)


def test_an_absolute_rate_of_the_backbone_is_named_as_such(model):
    raised = run(model, built(model, {'paramwise_cfg': {'custom_keys': {'backbone': {'lr': 1e-5}}}}))
    assert {tensor.line for tensor in raised} == {"optim_wrapper.paramwise_cfg.custom_keys['backbone'].lr=1e-05"}


def test_layer_wise_decay_of_mmpretrain(model):
    constructor = 'mmpretrain.LearningRateDecayOptimWrapperConstructor'
    runner = built(
        model.backbone, {'constructor': constructor, 'paramwise_cfg': {'layer_decay_rate': 0.5}}, SCHEDULES['warm-up']
    )
    assert min(rates(model.backbone, runner.optim_wrapper).values()) < BASE * 0.001 * 0.2
    raised = run(model.backbone, runner)
    assert set(rates(model.backbone, runner.optim_wrapper).values()) == {BASE * 0.001}
    assert {tensor.line for tensor in raised} == {'optim_wrapper.paramwise_cfg.layer_decay_rate=0.5'}


def mixed(model, **more):
    """Groups as a constructor of one's own makes them: adapters, the head and names beside them in one group."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    group = {'params': [p for _, p in trained], 'names_here': [name for name, _ in trained], 'lr': BASE * 0.1, **more}
    optimizer = torch.optim.SGD([{'params': [nn.Parameter(torch.zeros(1))]}, group], lr=BASE, momentum=0.9)
    return OptimWrapper(optimizer)


def test_a_group_that_mixes_adapters_with_others_is_split(model):
    cfg, wrapper = Config({'optim_wrapper': {'constructor': 'OnesOwn'}}), mixed(model, momentum=0.5)
    kinds = [{'type': 'LinearLR', 'start_factor': 0.5, 'end': 5}, {'type': 'ConstantMomentum', 'factor': 0.5, 'end': 3}]
    schedulers = [PARAM_SCHEDULERS.build({'optimizer': wrapper, **kind}) for kind in kinds]
    plateau = {'type': 'ReduceOnPlateauLR', 'monitor': 'loss', 'min_value': [1e-5, 1e-6]}
    runner = runner_of(cfg, wrapper, [*schedulers, PARAM_SCHEDULERS.build({'optimizer': wrapper, **plateau})])
    raised = run(model, runner)
    assert {tensor.line for tensor in raised} == {"optim_wrapper.constructor='OnesOwn'"}
    found = rates(model, wrapper)
    assert {name: rate for name, rate in found.items() if name.startswith('head')} == {
        'head.weight': BASE * 0.05,
        'head.bias': BASE * 0.05,
    }
    assert {rate for name, rate in found.items() if name.startswith('backbone')} == {BASE * 0.5}
    first, old, new = wrapper.optimizer.param_groups
    assert new['momentum'] == old['momentum']
    assert [len(group['names_here']) for group in (old, new)] == [len(old['params']), len(new['params'])]
    assert old['names_here'] == ['head.weight', 'head.bias']
    # The last entry is what MMEngine logs as the base rate.
    assert schedulers[0].base_values == [BASE, BASE * 0.1, BASE, BASE]
    assert len(schedulers[1].base_values) == 4
    assert runner.param_schedulers[2].min_values == [1e-5, 1e-6, 1e-6, 1e-6]
    runner.param_schedulers.pop()
    assert course(runner, 6)[-1] == pytest.approx([BASE, BASE * 0.1, BASE])
    assert first['lr'] == pytest.approx(BASE)


def test_a_checkpoint_with_other_groups_is_refused_with_the_way_out(model):
    wrapper = mixed(model)
    runner = runner_of(Config({'optim_wrapper': {'constructor': 'OnesOwn'}}), wrapper, [])
    checkpoint = {'optimizer': wrapper.state_dict()}
    run(model, runner)
    runner._resume, hook = True, TuningHook()
    hook.split = True
    with pytest.raises(ValueError, match=r'resume: .* 2\} parameter groups and the run has .* 3\}.*own_lr=False'):
        hook.after_load_checkpoint(runner, checkpoint)
    hook.after_load_checkpoint(runner, {'optimizer': wrapper.state_dict()})
    runner._resume = False
    hook.after_load_checkpoint(runner, checkpoint)


def test_several_optimizers_each_have_their_own_rate(model):
    slow = {'custom_keys': {'layers': {'lr_mult': 0.1}}}
    settings = {'body': (model.backbone, 0.1), 'top': (model.head, 0.5)}
    parts = {
        name: build_optim_wrapper(part, ConfigDict(optimizer={'type': 'SGD', 'lr': lr}, paramwise_cfg=slow))
        for name, (part, lr) in settings.items()
    }
    cfg = Config({'optim_wrapper': {name: {'paramwise_cfg': slow} for name in parts}})
    raised = run(model, runner_of(cfg, OptimWrapperDict(**parts), {'body': [], 'top': []}))
    assert {tensor.new for tensor in raised} == {0.1}
    assert {tensor.line for tensor in raised} == {"optim_wrapper.body.paramwise_cfg.custom_keys['layers'].lr_mult=0.1"}
    assert set(rates(model, parts['top']).values()) == {0.5}


def test_what_the_user_decided_stays(model):
    one_cycle = [{'type': 'OneCycleLR', 'eta_max': 0.5, 'total_steps': 20, 'by_epoch': False}]
    assert run(model, built(model, {'paramwise_cfg': SLOW}, one_cycle)) == []
    assert run(model, built(model, {'paramwise_cfg': {'custom_keys': {'backbone': {'lr_mult': 5.0}}}})) == []
    assert run(model, built(model, {'paramwise_cfg': {'bias_lr_mult': 0.5}})) == []
    assert run(model, built(model, {})) == []
    # An optimizer that was built by hand, at rates by hand.
    assert run(model, runner_of(Config({}), mixed(model), [])) == []


def test_base_tensors_that_were_unfrozen_by_hand_keep_the_rate_of_the_backbone(model):
    weight = model.backbone.layers[0].ln1.weight.requires_grad_(True)
    try:
        runner = built(model, {'paramwise_cfg': SLOW})
        run(model, runner)
        found = rates(model, runner.optim_wrapper)
        assert found.pop('backbone.layers.0.ln1.weight') == pytest.approx(BASE * 0.1)
        assert set(found.values()) == {BASE}
    finally:
        weight.requires_grad_(False)
