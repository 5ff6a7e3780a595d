"""What a checkpoint holds of a frozen backbone is used, or refused by name: a task's tensors, plain checkpoints'."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmsls.backbones.identity import EXTRA_STATE, pack, unpack
from mmsls.checkpoint import slim

from .test_identity import CONVPASS, Detector, file_door, mmengine_door, same, torch_door

WEIGHT = 'stages.1.blocks.0.ffn.layers.1.weight'
NORM = 'stages.3.blocks.1.norm2.weight'


@pytest.fixture(params=[torch_door, mmengine_door, file_door])
def load(request):
    return request.param


@pytest.fixture(params=[mmengine_door, file_door])
def loose(request):
    """MMEngine's doors: torch's strict one wants every adapter."""
    return request.param


@pytest.fixture
def build(mmdet_host, base_file):
    def run(**arguments):
        return Detector(mmdet_host.pruned(**{'base_checkpoint': base_file, 'adapter': CONVPASS, **arguments}))

    return run


@pytest.fixture
def tuned(build, randomise):
    return randomise(build(), only_trainable=True).eval()


def slimmed(model):
    checkpoint = {'meta': {}, 'state_dict': copy.deepcopy(model.state_dict())}
    slim(model, checkpoint)
    return checkpoint['state_dict']


def of(model, key):
    return model.backbone.state_dict()[key]


def change(model, key=WEIGHT):
    of(model, key).mul_(2)
    return model


# Tasks that changed their base.


def test_a_changed_base_tensor_is_stored_and_comes_back(build, tuned, load, said):
    state = slimmed(change(tuned))
    assert [key for key in state if 'ffn.layers' in key] == [f'backbone.{WEIGHT}']
    fresh = build()
    load(fresh, state)
    assert same(fresh, tuned)
    assert f'1 tensors of the base were changed in this checkpoint and are used: {WEIGHT}' in ''.join(said)


def test_it_stays_over_a_second_round(build, tuned, load):
    first, second = build(), build()
    load(first, slimmed(change(tuned)))
    state = slimmed(first)
    load(second, state)
    assert same(second, tuned)
    assert unpack(state[f'backbone.{EXTRA_STATE}'])['changed'] == [WEIGHT]


def test_unfreezing_late_or_early_is_the_same(build, tuned, load):
    """Trained with a gradient, loaded without one, and the other way round."""
    tuned.backbone.get_parameter(NORM).requires_grad_(True)
    state = slimmed(change(tuned, NORM))
    frozen, unfrozen = build(), build()
    unfrozen.backbone.get_parameter(NORM).requires_grad_(True)
    for model in (frozen, unfrozen):
        load(model, state)
        assert torch.equal(of(model, NORM), of(tuned, NORM))


def test_what_is_unfrozen_here_and_not_in_the_checkpoint_starts_from_the_base(build, tuned, load):
    fresh = build()
    fresh.backbone.get_parameter(NORM).requires_grad_(True)
    load(fresh, slimmed(tuned))
    assert same(fresh, tuned)


def test_a_stored_base_tensor_cannot_be_taken_out(build, tuned, load):
    state = slimmed(change(tuned))
    del state[f'backbone.{WEIGHT}']
    with pytest.raises(ValueError, match=f'lacks trained tensors.*{WEIGHT}: absent'):
        load(build(), state)


def test_a_misshapen_base_tensor_is_refused(build, tuned, load):
    state = slimmed(tuned)
    state[f'backbone.{WEIGHT}'] = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=rf'{WEIGHT}: \(2, 3\), needed \('):
        load(build(), state)


def test_a_full_checkpoint_is_used_whole(build, tuned, load, base_state, said):
    state = {key: value.clone() for key, value in change(tuned).state_dict().items()}
    fresh = build()
    load(fresh, state)
    assert same(fresh, tuned)
    assert f'are used: {WEIGHT}' in ''.join(said)


@pytest.mark.parametrize('kept', [(1, 2, 3, 2), (2, 2, 2, 0)])
def test_a_changed_tensor_of_a_removed_block_goes_with_it(build, tuned, load, kept):
    key = 'stages.3.blocks.1.norm1.bias' if kept[3] == 0 else 'stages.0.blocks.1.norm1.bias'
    pruned = build(kept_depths=kept)
    load(pruned, slimmed(change(change(tuned, key))))
    assert torch.equal(of(pruned, WEIGHT), of(tuned, WEIGHT))
    assert key not in pruned.backbone.state_dict()


def test_the_next_task_does_not_inherit_it(build, tuned, load, said):
    plain = slimmed(tuned)
    model = build()
    load(model, slimmed(change(copy.deepcopy(tuned))))
    load(model, plain)
    assert same(model, tuned)
    assert f"are the base's again, as the checkpoint means them: {WEIGHT}" in ''.join(said)


def test_where_the_base_is_gone_the_next_task_is_refused(build, tuned, load, tmp_path):
    model = change(build())
    model.backbone.base_checkpoint = str(tmp_path / 'gone.pth')
    with pytest.raises(ValueError, match=f'{WEIGHT}.*gone.pth.* cannot be read again'):
        load(model, slimmed(tuned))


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_a_cast_model_is_slimmed_and_comes_back(build, tuned, load, dtype):
    state = slimmed(change(tuned).to(dtype))
    assert [key for key in state if 'ffn.layers' in key] == [f'backbone.{WEIGHT}']
    fresh = build().to(dtype)
    load(fresh, state)
    assert same(fresh, tuned)


@pytest.mark.parametrize(
    'key', ['backbone.stages.0.blocks.0.extra.weight', 'backbone.neck.bias', 'backbone.norm9.bias']
)
def test_a_tensor_that_the_model_has_no_place_for_is_refused(build, tuned, load, key):
    with pytest.raises(ValueError, match=f'holds tensors that the model lacks.*{key.removeprefix("backbone.")}'):
        load(build(), {**slimmed(tuned), key: torch.zeros(3)})


def test_masks_that_the_model_computes_are_no_matter(build, tuned, load):
    fresh = build()
    load(fresh, {**slimmed(tuned), 'backbone.stages.0.blocks.1.attn_mask': torch.zeros(3)})
    assert same(fresh, tuned)


def test_a_full_checkpoint_of_another_window_size_fits_as_the_base_does(mmdet_host, build, tuned, load):
    wide = build(window_size=6)
    load(wide, {key: value.clone() for key, value in tuned.state_dict().items()})
    expected = build(window_size=6)
    load(expected, slimmed(tuned))
    assert same(wide, expected)


# Odd identities.


ODD = {
    'kept_depths': ['2222', None, [2, 2, 3], [2, 2, 3, 2, 1], [2, 2, 3, '2'], [2, 2, 3, True], [2, 2, 3, 1.5], {}, -1],
    'adapter': ['Convpass', [], ['Convpass'], 3, {}, {'type': 'Nothing'}, {'type': ['Convpass']}, {'type': None}],
    'base_sha256': [None, 3, [], {}],
    'changed': ['all', [3], {}, 3],
}


@pytest.mark.parametrize(('field', 'value'), [(field, value) for field, values in ODD.items() for value in values])
def test_an_odd_identity_is_refused_by_name(build, tuned, field, value):
    state = slimmed(tuned)
    packed = f'backbone.{EXTRA_STATE}'
    state[packed] = pack({**unpack(state[packed]), field: value})
    with pytest.raises(ValueError, match=f'{field.removesuffix("_sha256")}|adapter.type'):
        mmengine_door(build(), state)


@pytest.mark.parametrize(
    'packed',
    [
        'text',
        None,
        3,
        {},
        torch.zeros(2, 3),
        torch.zeros(()),
        torch.full((4,), float('nan')),
        torch.zeros(3, dtype=torch.complex64),
    ],
    ids=str,
)
def test_an_identity_that_is_none_is_refused(build, tuned, packed):
    with pytest.raises(ValueError, match=r'_extra_state|was taken out'):
        mmengine_door(build(), {**slimmed(tuned), f'backbone.{EXTRA_STATE}': packed})


def test_a_deep_identity_is_refused(build, tuned):
    deep = torch.frombuffer(bytearray(b'[' * 100_000), dtype=torch.uint8).clone()
    with pytest.raises(ValueError, match='nested too deep'):
        mmengine_door(build(), {**slimmed(tuned), f'backbone.{EXTRA_STATE}': deep})


@pytest.mark.parametrize('value', ['text', None, [1.0]])
def test_what_is_no_tensor_is_refused(build, tuned, value):
    with pytest.raises(ValueError, match='not every entry is a tensor'):
        mmengine_door(build(), {**slimmed(tuned), 'backbone.norm0.weight': value})


# Plain checkpoints: what the hosts' users start from.


@pytest.fixture
def stock(mmdet_host, base_state, randomise):
    """A detector of the host whose backbone is the base, with trained norms and head."""
    model = randomise(Detector(mmdet_host.stock()), seed=5)
    model.backbone.load_state_dict(base_state, strict=False)
    return model


def state_of(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize('adapter', [CONVPASS, {'type': 'mmsls.RepAdapter', 'rank': 2}, {'type': 'BitFit'}, None])
@pytest.mark.parametrize('kept', [None, (2, 1, 2, 0)])
def test_a_plain_checkpoint_on_the_same_base_brings_norms_and_head(build, stock, loose, adapter, kept, said):
    model = build(adapter=adapter, kept_depths=kept)
    before = state_of(model)
    loose(model, state_of(stock))
    assert torch.equal(model.head.weight, stock.head.weight)
    assert torch.equal(model.backbone.norm2.bias, stock.backbone.norm2.bias)
    assert all(torch.equal(before[f'backbone.{key}'], of(model, key)) for key in model.backbone.base_record)
    if adapter == CONVPASS:
        assert 'brings 8 tensors of output norms; its ' in ''.join(said)
        assert 'adapter tensors are not in it' in ''.join(said)


def test_the_file_of_the_base_itself_is_such_a_checkpoint(mmdet_host, stock, loose, tmp_path):
    path = tmp_path / 'detector.pth'
    torch.save({'state_dict': {f'module.{key}': value for key, value in stock.state_dict().items()}}, path)
    for window in (4, 6):  # tables are fitted alike
        model = Detector(mmdet_host.pruned(base_checkpoint=str(path), adapter=CONVPASS, window_size=window))
        loose(model, state_of(stock))
        assert torch.equal(model.head.weight, stock.head.weight)


def test_half_precision_is_the_same_base(build, stock, loose):
    model = build()
    loose(model, {key: value.half() if value.is_floating_point() else value for key, value in state_of(stock).items()})
    assert torch.equal(model.head.weight, stock.head.weight.half().float())
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_heads_alone_are_taken(build, stock, loose, said):
    model = build()
    loose(model, {key: value for key, value in state_of(stock).items() if not key.startswith('backbone.')})
    assert torch.equal(model.head.weight, stock.head.weight)
    assert 'holds nothing of the base' in ''.join(said)


@pytest.mark.parametrize('adapter', [None, CONVPASS])
def test_torchs_strict_door_misses_the_identity(build, stock, adapter):
    """Task folders load strictly: there, whatever does not name its base is refused."""
    with pytest.raises(RuntimeError, match=r'Missing key.*_extra_state'):
        torch_door(build(adapter=adapter), state_of(stock))


@pytest.mark.parametrize('adapter', [None, CONVPASS])
def test_another_backbone_is_refused_with_its_first_tensor_and_the_mend(build, load, stock, adapter):
    state = state_of(stock)
    state[f'backbone.{WEIGHT}'] += 1
    with pytest.raises(
        ValueError, match=rf'1 of \d+ tensors differ, the first is {WEIGHT}.*Name that same file as base_checkpoint'
    ):
        load(build(adapter=adapter), state)


@pytest.mark.parametrize(
    'change', [{'embed_dims': 16}, {'depths': (2, 2, 4, 2)}, {'window_size': 4, 'qkv_bias': False}]
)
def test_a_backbone_of_another_make_is_refused_by_name(mmdet_host, build, load, change):
    other = Detector(mmdet_host.stock(**change))
    with pytest.raises(
        ValueError, match=r'of another width, depth or kind: \S+ \(.*\), in the model|is not that base: '
    ):
        load(build(), state_of(other))


def test_adapters_without_an_identity_are_refused(build, tuned, load):
    state = slimmed(tuned)
    del state[f'backbone.{EXTRA_STATE}']
    with pytest.raises(ValueError, match=r'holds adapters .*_extra_state.* was taken out'):
        load(build(), state)


def test_a_task_under_another_name_is_refused(build, tuned, load):
    state = {f'teacher.{key}': value for key, value in slimmed(tuned).items()}
    with pytest.raises(
        ValueError, match=r"holds its frozen backbone at 'teacher\.backbone\.', the model at 'backbone\.'"
    ):
        load(build(), state)


@pytest.mark.parametrize('column_name', ['mmseg-swin', 'mmseg-vit', 'mmpretrain-swin', 'mmpretrain-vit'])
def test_every_hosts_plain_checkpoints_have_the_door(columns, column_name, randomise, tmp_path, loose):
    host = columns[column_name]()
    stock = randomise(Detector(host.stock()), seed=5)
    path = tmp_path / 'whole.pth'
    torch.save({'state_dict': stock.state_dict()}, path)
    model = Detector(host.pruned(base_checkpoint=str(path), adapter=CONVPASS))
    loose(model, state_of(stock))
    assert torch.equal(model.head.weight, stock.head.weight)
    state = state_of(stock)
    key = next(key for key in state if key.endswith('ffn.layers.1.bias'))
    state[key] += 1
    with pytest.raises(ValueError, match=f'the first is {key.removeprefix("backbone.")}'):
        loose(model, state)


def test_a_backbone_alone_takes_a_plain_one(mmdet_host, base_file, base_state):
    model = mmdet_host.pruned(base_checkpoint=base_file, adapter=CONVPASS)
    mmengine_door(model, dict(base_state))
    with pytest.raises(ValueError, match=r'of another width, depth or kind: backbone\.'):
        mmengine_door(model, {f'backbone.{key}': value for key, value in base_state.items()})
    assert isinstance(model, nn.Module)
