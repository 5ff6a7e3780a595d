"""What the settings of scoring mean."""

from __future__ import annotations

import pytest

from mmsls.features import InstanceSampler
from mmsls.features.settings import scorer_options, settled_criterion


def test_a_name_that_only_sounds_like_a_sampler_is_no_image_sampler():
    assert scorer_options({'sampler': f'{__name__}.NotAnImageSampler'}, None)['rule'].scope == 'stage'


class NotAnImageSampler(InstanceSampler):
    """Has the other one's name in its own."""


def test_settings_of_t_sne_reach_sls_unless_its_own_config_names_them():
    assert settled_criterion('sls', 5.0, 1).perplexity == 5.0
    assert settled_criterion({'type': 'mmsls.SLS', 'perplexity': 7.0}, 5.0, 1).perplexity == 7.0
    with pytest.raises(ValueError, match='perplexity'):
        settled_criterion({'type': 'SLS', 'perplexity': -1.0}, 5.0, 1)


@pytest.mark.parametrize(
    ('criterion', 'said'),
    [
        ('magic', r"criterion: unknown criterion 'magic'; known: .*LinearProbe.*SLS"),
        ({'type': 'LinearProbe', 'fold': 3}, r"criterion: .*'fold' for LinearProbe; its arguments are folds"),
        ({'type': 'LinearProbe', 'folds': 1}, 'LinearProbe.folds must be at least 2'),
        ('Taylor', r'criterion: Taylor says which single blocks matter, and an index holds depths; .*run_vtab\.py'),
        (None, 'criterion: unknown criterion None'),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(criterion, said):
    with pytest.raises(ValueError, match=said):
        settled_criterion(criterion, 30.0, 1)


def test_none_in_the_hook_is_the_default():
    assert 'criterion' not in scorer_options({'criterion': None}, 'mmdet')
