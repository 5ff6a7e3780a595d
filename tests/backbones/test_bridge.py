"""What stands in for removed blocks: shapes, zeros, state dicts, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch

from mmsls.backbones.bridge import LinearBridge

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}


def image(batch=2):
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def outputs(model):
    model.eval()
    with torch.no_grad():
        found = model(image())
    return [part for out in found for part in (out if isinstance(out, list | tuple) else [out])]


def same(left, right, tolerance=0.0):
    return all((x - y).abs().max() <= tolerance for x, y in zip(left, right, strict=True))


@pytest.fixture
def base(column, randomise, tmp_path):
    path = tmp_path / 'base.pth'
    torch.save(column.base_of(randomise(column.stock())), path)
    return str(path)


@pytest.fixture
def bridged(column, base):
    return column.pruned(base_checkpoint=base, adapter=CONVPASS, kept_depths=column.kept, bridge=True)


def randomised(model, randomise):
    return randomise(model, only_trainable=True)


def test_zeros_change_nothing_and_fitted_ones_do(column, base, bridged, randomise):
    cut = column.pruned(base_checkpoint=base, adapter=CONVPASS, kept_depths=column.kept)
    assert len(outputs(bridged)) == len(outputs(cut))
    assert same(outputs(bridged)[-1:], outputs(cut)[-1:])
    for bridge in bridged.bridges().values():
        torch.nn.init.normal_(bridge.bridge.weight, generator=torch.Generator().manual_seed(1))
    assert not same(outputs(bridged)[-1:], outputs(cut)[-1:], 1e-3)


def test_it_is_trained_and_stored_and_is_no_block(column, bridged):
    names = bridged.bridges()
    assert names
    keys = {f'{name}.{key}' for name, bridge in names.items() for key in bridge.state_dict()}
    assert keys <= set(bridged.stored_keys())
    assert keys <= bridged.unfrozen()
    assert not any(isinstance(block, LinearBridge) for _, block in bridged.iter_blocks())
    assert len(list(bridged.iter_blocks())) == sum(column.kept)
    assert bridged.identity()['bridge'] is True


def test_there_are_none_where_nothing_was_removed(column, base):
    assert not column.pruned(base_checkpoint=base, bridge=True).bridges()
    assert 'bridge' not in column.pruned(base_checkpoint=base, bridge=True).identity()


def test_a_checkpoint_comes_back_as_it_was(column, base, bridged, randomise):
    randomised(bridged, randomise)
    stored = bridged.stored_keys()
    state = {key: value for key, value in bridged.state_dict().items() if key in stored}
    again = column.pruned(base_checkpoint=base, adapter=CONVPASS, kept_depths=column.kept, bridge=True)
    again.load_state_dict(copy.deepcopy(state))
    assert same(outputs(again), outputs(bridged))
    assert same(outputs(copy.deepcopy(again)), outputs(bridged))


def test_a_checkpoint_at_full_depth_leaves_them_zero_and_says_so(column, base, bridged, randomise, said):
    full = randomised(column.pruned(base_checkpoint=base, adapter=CONVPASS), randomise)
    randomised(bridged, randomise)
    bridged.load_state_dict(full.state_dict())
    assert not any(value.any() for bridge in bridged.bridges().values() for value in bridge.state_dict().values())
    assert any('bridges are not in this checkpoint and change nothing' in line for line in said)
    cut = column.pruned(base_checkpoint=base, adapter=CONVPASS, kept_depths=column.kept)
    cut.load_state_dict(full.state_dict())
    assert same(outputs(bridged)[-1:], outputs(cut)[-1:])


def test_one_of_other_depths_or_none_is_refused(column, base, bridged):
    state = bridged.state_dict()
    lower = (1, *column.kept[1:]) if column.kept[0] > 1 else (*column.kept[:-1], 0)
    for arguments in ({'kept_depths': column.kept}, {'kept_depths': lower, 'bridge': True}, {}):
        other = column.pruned(base_checkpoint=base, adapter=CONVPASS, **arguments)
        with pytest.raises(ValueError, match=r'kept_depths|bridge: this checkpoint has bridge=True'):
            other.load_state_dict(copy.deepcopy(state))


def test_it_trains_without_a_base_too(column, randomise):
    model = column.pruned(kept_depths=column.kept, bridge=True)
    model.init_weights()
    assert not any(value.any() for bridge in model.bridges().values() for value in bridge.parameters())
    model.train()
    sum((out**2).mean() for out in model(image())[-1:] if torch.is_tensor(out)).backward()
    last = list(model.bridges().values())[-1]
    assert last.bridge.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('value', ['yes', 1, 0, -3, 2.5, None, [4]])
def test_what_is_no_setting_is_refused(column, base, value):
    with pytest.raises(ValueError, match='bridge must be True, False or a rank of at least 2, got'):
        column.pruned(base_checkpoint=base, kept_depths=column.kept, bridge=value)


def test_bridges_of_a_rank_train_are_stored_and_belong_to_that_rank(column, base, randomise):
    arguments = {'base_checkpoint': base, 'kept_depths': column.kept}
    model, full = column.pruned(**arguments, bridge=2), column.pruned(**arguments, bridge=True)
    cut = column.pruned(**arguments)
    assert same(outputs(model)[-1:], outputs(cut)[-1:])
    assert model.identity()['bridge'] == 2
    assert len(model.bridges()) == len(full.bridges())
    sizes = [sum(p.numel() for b in one.bridges().values() for p in b.parameters()) for one in (model, full)]
    assert sizes[0] < sizes[1]
    sum((out**2).mean() for out in model(image())[-1:] if torch.is_tensor(out)).backward()
    last = list(model.bridges().values())[-1]
    assert last.bridge[1].weight.grad.abs().sum() > 0
    randomised(model, randomise)
    state = {key: value for key, value in model.state_dict().items() if key in model.stored_keys()}
    again = column.pruned(**arguments, bridge=2)
    again.load_state_dict(copy.deepcopy(state))
    assert same(outputs(again), outputs(model))
    for other in (full, column.pruned(**arguments, bridge=3), cut):
        with pytest.raises(ValueError, match='bridge: this checkpoint has bridge=2'):
            other.load_state_dict(copy.deepcopy(state))


def test_unfitted_bridges_of_a_rank_can_still_learn_after_loading(column, base, randomise):
    tuned = randomised(column.pruned(base_checkpoint=base, adapter=CONVPASS), randomise)
    model = column.pruned(base_checkpoint=base, adapter=CONVPASS, kept_depths=column.kept, bridge=2)
    model.load_state_dict(tuned.state_dict())
    last = list(model.bridges().values())[-1]
    assert last.bridge[0].weight.any()
    assert not last.bridge[1].weight.any()


@pytest.mark.parametrize(
    ('arguments', 'read'), [({'output_cls_token': True}, True), ({}, False), ({'with_cls_token': False}, False)]
)
def test_a_class_token_that_nothing_reads_needs_no_map(mmseg_vit_host, arguments, read):
    model = mmseg_vit_host.pruned(**arguments, kept_depths=2, bridge=True)
    (bridge,) = model.bridges().values()
    assert ('extra' in bridge.maps()) == read
    torch.nn.init.ones_(bridge.bridge.bias)
    seen = []
    bridge.register_forward_hook(lambda _, inputs, output: seen.append(output - inputs[0]))
    outputs(model)
    ahead = 0 if arguments == {'with_cls_token': False} else 1
    assert torch.allclose(seen[0][:, ahead:], torch.ones(()), atol=1e-5)
    assert not seen[0][:, :ahead].any()


def test_the_final_norm_follows_no_output_that_it_did_not_follow(mmseg_vit_host, randomise):
    """Full depth: output 2 of 4 blocks has no norm; so it has none where a bridge stands for block 2."""
    arguments = {'out_indices': (0, 2), 'final_norm': True}
    full = randomise(mmseg_vit_host.pruned(**arguments))
    model = mmseg_vit_host.pruned(**arguments, kept_depths=2, bridge=True)
    model.load_state_dict(
        {**model.state_dict(), **{k: v for k, v in full.state_dict().items() if k in model.state_dict()}}
    )
    raw = []
    model.layers[2].register_forward_hook(lambda _, __, output: raw.append(output))
    out = outputs(model)[-1]
    assert torch.equal(out, raw[0][:, 1:].transpose(1, 2).reshape(out.shape))
