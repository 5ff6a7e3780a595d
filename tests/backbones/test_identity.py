"""Which checkpoint may enter a backbone with a frozen base: by torch's door and by MMEngine's, as in inference."""

from __future__ import annotations

import copy
import json
import re

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch
from torch import nn

from mmsls.backbones.identity import EXTRA_STATE, pack, unpack
from mmsls.checkpoint import slim_states

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4, 'scale': 0.5}


def torch_door(model, state):
    model.load_state_dict(state, strict=True)


def mmengine_door(model, state):
    mmengine_checkpoint.load_state_dict(model, state, strict=False)


def file_door(model, state):
    import tempfile

    with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        torch.save({'state_dict': state, 'meta': {}}, file.name)
        mmengine_checkpoint.load_checkpoint(model, file.name, map_location='cpu')


@pytest.fixture(params=[torch_door, mmengine_door, file_door])
def load(request):
    return request.param


class Detector(nn.Module):
    """A backbone under a prefix, with something trained beside it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(3, 3)


@pytest.fixture
def build(mmdet_host, base_file):
    def run(**arguments):
        return Detector(mmdet_host.pruned(**{'base_checkpoint': base_file, 'adapter': CONVPASS, **arguments}))

    return run


@pytest.fixture
def tuned(build, randomise):
    return randomise(build(), only_trainable=True).eval()


def state_of(model, slim=True):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    if not slim:
        return state
    kept = {f'backbone.{key}' for key in model.backbone.trained_keys()}
    return {key: value for key, value in state.items() if key in kept or not key.startswith('backbone.')}


@pytest.fixture
def other_base(mmdet_host, randomise, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(randomise(mmdet_host.stock(), seed=9).state_dict(), path)
    return str(path)


def same(left, right, keys=None):
    a, b = left.state_dict(), right.state_dict()
    return all(torch.equal(a[key], b[key]) for key in (keys or a))


@pytest.mark.parametrize('slim', [True, False])
def test_right_checkpoint_comes_back_whole(build, tuned, load, slim):
    fresh = build()
    load(fresh, state_of(tuned, slim))
    assert same(fresh, tuned)


def test_wrong_base_is_refused_with_both_hashes(build, tuned, load, other_base):
    model = build(base_checkpoint=other_base)
    match = f'{tuned.backbone.base_sha256}.*{re.escape(other_base)}.*{model.backbone.base_sha256}'
    with pytest.raises(ValueError, match=match):
        load(model, state_of(tuned))


def test_slim_checkpoint_without_a_base_is_refused(build, tuned, load):
    model = build(base_checkpoint=None, adapter=None)
    with pytest.raises(ValueError, match=f'{tuned.backbone.base_sha256}.*set base_checkpoint'):
        load(model, state_of(tuned))


@pytest.mark.parametrize('suffix', ['stages.1.blocks.0.adapters.attn_parallel.conv.weight', 'norm2.bias'])
def test_missing_trained_tensor_is_refused(build, tuned, load, suffix):
    state = state_of(tuned)
    del state[f'backbone.{suffix}']
    with pytest.raises(ValueError, match=f'{re.escape(suffix)}: absent'):
        load(build(), state)


def test_misshapen_trained_tensor_is_refused(build, tuned, load):
    state = state_of(tuned)
    state['backbone.norm2.bias'] = torch.zeros(7)
    with pytest.raises(ValueError, match=r'norm2\.bias: \(7,\), needed \(32,\)'):
        load(build(), state)


@pytest.mark.parametrize(
    'adapter',
    [None, {**CONVPASS, 'rank': 8}, {**CONVPASS, 'scale': 1.0}, {'type': 'RepAdapter', 'rank': 4, 'scale': 0.5}],
)
def test_other_adapter_rank_or_scale_is_refused(build, tuned, load, adapter):
    with pytest.raises(ValueError, match='adapter: this checkpoint holds'):
        load(build(adapter=adapter), state_of(tuned))
    with pytest.raises(ValueError, match='adapter: this checkpoint holds'):
        load(build(), state_of(build(adapter=adapter)))


@pytest.mark.parametrize('change', [{'dropout': 0.0}, {'xavier_init': True}, {'type': 'Convpass'}])
def test_what_only_training_feels_may_differ(build, tuned, load, change):
    fresh = build(adapter={**CONVPASS, **change})
    load(fresh, state_of(tuned))
    assert same(fresh, tuned, [key for key in fresh.state_dict() if EXTRA_STATE not in key])


@pytest.mark.parametrize('slim', [True, False])
@pytest.mark.parametrize('kept', [(2, 1, 2, 1), (2, 2, 1, 0), (0, 0, 0, 1)])
def test_tuned_into_pruned_drops_the_surplus(build, tuned, load, slim, kept, caplog):
    pruned = build(kept_depths=kept)
    load(pruned, state_of(tuned, slim))
    assert same(pruned, tuned, [key for key in pruned.state_dict() if EXTRA_STATE not in key])
    assert unpack(pruned.state_dict()[f'backbone.{EXTRA_STATE}'])['kept_depths'] == list(kept)


@pytest.mark.parametrize(
    ('stored', 'wanted'), [((2, 1, 2, 1), None), ((2, 1, 3, 0), (1, 1, 1, 1)), ((2, 2, 1, 1), (1, 1, 2, 1))]
)
def test_fewer_blocks_than_the_model_are_refused(build, load, stored, wanted):
    with pytest.raises(ValueError, match='kept_depths: this checkpoint holds'):
        load(build(kept_depths=wanted), state_of(build(kept_depths=stored)))


@pytest.mark.parametrize('content', [b'not json', b'\xff\xfe\x00', b'', b'[1, 2]', b'{}', b'{"base_sha256": "a"}'])
def test_damaged_identity_is_refused(build, tuned, load, content):
    state = state_of(tuned)
    state[f'backbone.{EXTRA_STATE}'] = torch.tensor(list(content), dtype=torch.uint8)
    for model in (build(), build(base_checkpoint=None, adapter=None)):
        with pytest.raises(ValueError, match=r'_extra_state|does not name|base'):
            load(model, state)


def test_what_a_user_unfroze_is_stored_and_comes_back(build, load):
    def unfrozen():
        model = build()
        model.backbone.stages[3].blocks[1].norm2.requires_grad_(True)
        return model

    model, fresh = unfrozen(), unfrozen()
    with torch.no_grad():
        model.backbone.stages[3].blocks[1].norm2.weight.fill_(3)
    state = state_of(model)
    assert 'backbone.stages.3.blocks.1.norm2.weight' in state
    load(fresh, state)
    assert (fresh.backbone.stages[3].blocks[1].norm2.weight == 3).all()


def test_a_copy_without_gradients_loads_as_well(build, tuned, load):
    """EMAHook's averaged model is such a copy."""
    average = copy.deepcopy(build()).requires_grad_(False)
    load(average, state_of(tuned))
    assert same(average, tuned)


def test_the_identity_is_a_small_plain_tensor(build):
    model = build(kept_depths=(2, 1, 2, 0))
    packed = model.state_dict()[f'backbone.{EXTRA_STATE}']
    assert packed.dtype == torch.uint8
    assert packed.numel() < 1024
    assert unpack(packed) == {
        'base_sha256': model.backbone.base_sha256,
        'kept_depths': [2, 1, 2, 0],
        'adapter': {'type': 'Convpass', 'rank': 4, 'scale': 0.5, 'dropout': 0.1, 'xavier_init': False},
    }
    odd = {'base_sha256': 'é', 'kept_depths': [], 'adapter': None}
    assert unpack(pack(odd)) == odd
    json.dumps(unpack(packed))


def test_the_bytes_of_an_identity_are_those_of_earlier_releases(build):
    backbone = build(kept_depths=(2, 1, 2, 0)).backbone
    adapter = b'{"dropout": 0.1, "rank": 4, "scale": 0.5, "type": "Convpass", "xavier_init": false}'
    sha256 = backbone.base_sha256.encode()
    expected = b'{"adapter": ' + adapter + b', "base_sha256": "' + sha256 + b'", "kept_depths": [2, 1, 2, 0]}'
    assert bytes(backbone.state_dict()[EXTRA_STATE].tolist()) == expected
    with torch.no_grad():
        backbone.stages[0].blocks[0].norm1.weight.add_(1)
    model = Detector(backbone)
    state = dict(model.state_dict())
    slim_states(model, [(state, '')])
    changed = b', "changed": ["stages.0.blocks.0.norm1.weight"], "kept_depths"'
    packed = state[f'backbone.{EXTRA_STATE}']
    assert bytes(packed.tolist()) == expected.replace(b', "kept_depths"', changed)


def test_an_identity_of_an_earlier_release_loads(build, tuned):
    state = state_of(tuned)
    sha256 = tuned.backbone.base_sha256.encode()
    adapter = b'{"dropout": 0.1, "rank": 4, "scale": 0.5, "type": "Convpass", "xavier_init": false}'
    written = b'{"adapter": ' + adapter + b', "base_sha256": "' + sha256 + b'", "kept_depths": [2, 2, 3, 2]}'
    state[f'backbone.{EXTRA_STATE}'] = torch.tensor(list(written), dtype=torch.uint8)
    fresh = build()
    torch_door(fresh, state)
    assert same(fresh, tuned)


def test_a_backbone_without_a_base_has_no_identity(build):
    assert not any(EXTRA_STATE in key for key in build(base_checkpoint=None, adapter=None).state_dict())
