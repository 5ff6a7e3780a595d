from __future__ import annotations

import pytest
from torch import nn

from mmsls.features import InstanceSampler, RegionSampler
from mmsls.features.tasks import build_sampler, sampler_for_scope


@pytest.mark.parametrize('cfg', ['InstanceSampler', 'mmsls.InstanceSampler', {'type': 'InstanceSampler'}])
def test_a_sampler_by_name_or_config(cfg):
    assert isinstance(build_sampler(cfg), InstanceSampler)


@pytest.mark.parametrize('cfg', ['Instance', {'type': None}, {}])
def test_an_unknown_sampler_is_refused_with_the_known_ones(cfg):
    with pytest.raises(ValueError, match='InstanceSampler'):
        build_sampler(cfg)


def test_the_config_given_is_not_changed():
    cfg = {'type': 'InstanceSampler'}
    build_sampler(cfg)
    assert cfg == {'type': 'InstanceSampler'}


@pytest.mark.parametrize('scope', [None, 'nowhere'])
def test_a_scope_without_a_task_is_refused(scope):
    with pytest.raises(ValueError, match='sampler='):
        sampler_for_scope(scope)


@pytest.mark.parametrize(('scope', 'wanted'), [('mmdet', 'InstanceSampler'), ('mmseg', 'RegionSampler')])
def test_a_host_has_the_sampler_of_its_task(scope, wanted):
    assert sampler_for_scope(scope) == wanted


def test_what_the_config_leaves_open_comes_from_the_model():
    model = nn.Module()
    model.decode_head = nn.Module()
    model.decode_head.ignore_index, model.decode_head.num_classes = 11, 7
    assert build_sampler('RegionSampler').ignore_index == 255
    sampler = build_sampler({'type': 'RegionSampler', 'num_classes': 5}, model)
    assert isinstance(sampler, RegionSampler)
    assert (sampler.ignore_index, sampler.num_classes) == (11, 5)
    assert isinstance(build_sampler('InstanceSampler', model), InstanceSampler)
