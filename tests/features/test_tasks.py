from __future__ import annotations

import pytest

from mmsls.features import InstanceSampler
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
