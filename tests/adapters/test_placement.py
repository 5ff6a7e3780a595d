from __future__ import annotations

import pytest

from mmsls.adapters import normalise_adapter_cfg
from mmsls.adapters.placement import chosen_blocks

DEPTHS = (2, 2, 6, 2)


@pytest.mark.parametrize(
    ('placement', 'count'),
    [({}, 12), ({'stages': 2}, 6), ({'stages': (0, 3)}, 4), ({'blocks': 1}, 4), ({'stages': [2], 'blocks': (4, 5)}, 2)],
)
def test_the_chosen_blocks(placement, count):
    cfg = normalise_adapter_cfg({'type': 'Convpass', **placement})
    found = chosen_blocks(cfg, DEPTHS)
    assert len(found) == count
    assert all(block < DEPTHS[stage] for stage, block in found)


@pytest.mark.parametrize(
    ('placement', 'match'),
    [
        ({'stages': 4}, r'adapter\.stages=\[4\]: \[4\] matches no block.*\(2, 2, 6, 2\)'),
        ({'stages': (2, 7)}, r'adapter\.stages=\[2, 7\]: \[7\]'),
        ({'blocks': 6}, r'adapter\.blocks=\[6\]: \[6\] matches no block'),
        ({'stages': 0, 'blocks': (1, 2)}, r'adapter\.blocks=\[1, 2\]: \[2\]'),
        ({'stages': (0, 2), 'blocks': (4,)}, r'adapter\.stages=\[0, 2\]: \[0\]'),
    ],
)
def test_what_matches_nothing_is_refused(placement, match):
    cfg = normalise_adapter_cfg({'type': 'Convpass', **placement})
    with pytest.raises(ValueError, match=match):
        chosen_blocks(cfg, DEPTHS)


@pytest.mark.parametrize('key', ['stages', 'blocks'])
@pytest.mark.parametrize('value', [(), -1, '2', 1.0, True, (1, 1), ('a',), None.__class__])
def test_what_is_no_number_is_refused(key, value):
    with pytest.raises(ValueError, match=rf'adapter\.{key} must hold'):
        normalise_adapter_cfg({'type': 'Convpass', key: value})


def test_none_is_everywhere_and_leaves_old_checkpoints_loadable():
    assert normalise_adapter_cfg({'type': 'Convpass', 'stages': None}) == normalise_adapter_cfg({'type': 'Convpass'})


def test_a_backbone_refuses_it_when_built(mmdet_host, base_file):
    cfg = {'type': 'Convpass', 'stages': (3,), 'blocks': (2,)}
    with pytest.raises(ValueError, match=r'adapter\.stages=\[3\].*matches no block'):
        mmdet_host.pruned(base_checkpoint=base_file, adapter=cfg)


def test_a_pruned_model_keeps_its_selection(mmdet_host, base_file):
    """The numbers count the full backbone's blocks: pruning may remove every adapter, and the config stays."""
    cfg = {'type': 'Convpass', 'stages': (3,)}
    model = mmdet_host.pruned(base_checkpoint=base_file, adapter=cfg, kept_depths=(2, 2, 3, 0))
    assert not any('adapters' in key for key in model.state_dict())
