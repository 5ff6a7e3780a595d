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
        ({'type': 'Taylor', 'batches': 0}, 'Taylor.batches is 0'),
        (None, 'criterion: unknown criterion None'),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(criterion, said):
    with pytest.raises(ValueError, match=said):
        settled_criterion(criterion, 30.0, 1)


def test_none_in_the_hook_is_the_default():
    assert 'criterion' not in scorer_options({'criterion': None}, 'mmdet')


@pytest.mark.parametrize(
    ('settings', 'overrides', 'said'),
    [
        ({'criterion': 'Taylor'}, {}, 'keep is not set, and criterion Taylor rates single blocks.*keep=0.75'),
        ({'criterion': 'sls', 'keep': 0.5}, {}, 'keep is 0.5, and criterion SLS rates depths: leave keep out'),
        ({'criterion': 'Taylor', 'keep': 0.5}, {'criterion': 'ncm'}, 'keep is 0.5, and criterion NCM rates depths'),
        ({'criterion': 'Taylor', 'keep': 0.5}, {'alpha': 0.3}, 'keep is not set, and criterion Taylor'),
        ({'criterion': 'Taylor'}, {'keep': 1.5}, 'keep is 1.5; it must be a share of the blocks'),
        ({'criterion': 'Taylor'}, {'keep': 0.5, 'max_drop': 1.0}, 'keep is 0.5 and max_drop is 1.0'),
    ],
)
def test_a_rule_that_cannot_read_the_criterion_is_refused(settings, overrides, said):
    with pytest.raises(ValueError, match=said):
        scorer_options(settings, 'mmdet', overrides)


def test_a_criterion_of_the_other_kind_takes_over_with_its_own_option():
    kept = scorer_options({'criterion': 'probe', 'max_drop': 1.0}, 'mmdet', {'criterion': 'Taylor', 'keep': 0.5})[
        'rule'
    ]
    assert (kept.keep, kept.max_drop, kept.scope, kept.min_depth) == (0.5, None, 'stage', 1)
    dropped = scorer_options({'criterion': 'Taylor', 'keep': 0.5}, 'mmpretrain', {'criterion': 'ncm', 'max_drop': 2})
    assert (dropped['rule'].keep, dropped['rule'].max_drop) == (None, 2.0)
