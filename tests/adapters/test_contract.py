"""The contract table: every adapter (row) in every host's Swin (column). A new adapter is one new row."""

from __future__ import annotations

import copy
import inspect
import json

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch

from mmsls.adapters import Adapter, adapter_class, normalise_adapter_cfg
from mmsls.backbones.blocks import merge_block
from mmsls.registry import ADAPTERS

ROWS = {
    'Convpass': {'type': 'mmsls.Convpass', 'rank': 4, 'scale': 0.5},
    'RepAdapter': {'type': 'mmsls.RepAdapter', 'rank': 4, 'scale': 0.5},
}
SIZES = [(64, 64), (96, 64), (61, 83), (33, 35)]
KEPT = (2, 1, 2, 0)


@pytest.fixture(params=ROWS)
def cfg(request):
    return ROWS[request.param]


@pytest.fixture
def build(host, base_file, cfg):
    def run(**arguments):
        return host.pruned(**{'base_checkpoint': base_file, 'adapter': cfg, **arguments})

    return run


@pytest.fixture
def stock(host, base_state):
    model = host.stock()
    model.load_state_dict(base_state, strict=False)
    model.eval()
    return model


def image(size=(64, 64), batch=2, seed=0):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def gap(left, right):
    assert [x.shape for x in left] == [x.shape for x in right]
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


def gradients(model, x):
    model.zero_grad()
    sum((out**2).mean() for out in model(x)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def test_every_registered_adapter_has_a_row():
    assert set(ADAPTERS.module_dict) == set(ROWS)


def test_config_is_spelt_out_and_survives_json(cfg):
    full = normalise_adapter_cfg(cfg)
    assert json.loads(json.dumps(full)) == full
    assert normalise_adapter_cfg(full) == full
    assert set(full) - {'type'} == set(inspect.signature(adapter_class(cfg)).parameters) - {'embed_dims'}
    assert adapter_class(cfg).training_only <= set(full)


@pytest.mark.parametrize('rank', [0, -1, 1.5, True, '8', None])
def test_bad_rank_is_refused(build, cfg, rank):
    with pytest.raises(ValueError, match='rank'):
        build(adapter={**cfg, 'rank': rank})


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('mode', [True, False])
def test_a_new_adapter_is_the_identity(build, stock, size, mode):
    x = image(size)
    with torch.no_grad():
        expected = stock(x)
        assert gap(build(fused_attention=False).train(mode)(x), expected) == 0
        assert gap(build(fused_attention=True).train(mode)(x), expected) < 1e-4


def test_scale_zero_is_the_identity_whatever_was_trained(build, cfg, stock, randomise):
    model = build(adapter={**cfg, 'scale': 0.0}, fused_attention=False).eval()
    for adapter in (module for module in model.modules() if isinstance(module, Adapter)):
        randomise(adapter)
    with torch.no_grad():
        assert gap(model(image()), stock(image())) == 0


def test_only_adapters_and_output_norms_train(build, cfg):
    model = build()
    slots = adapter_class(cfg).slots
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    owned = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules()
        if isinstance(module, Adapter) or prefix in {'norm0', 'norm1', 'norm2', 'norm3'}
        for name, _ in module.named_parameters()
    }
    assert trained == owned
    for _, block in model.iter_blocks():
        assert set(block.adapters) == set(slots)
        assert slots


def test_every_trained_parameter_gets_a_gradient(build, randomise):
    model = randomise(build(), only_trainable=True).train()
    found = gradients(model, image())
    assert [name for name, gradient in found.items() if not gradient.abs().sum() > 0] == []
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_base_weights_do_not_move_in_training(build, randomise, base_state):
    model = randomise(build(), only_trainable=True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    gradients(model, image())
    optimizer.step()
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in base_state.items())


@pytest.mark.parametrize('through', ['torch', 'mmengine'])
def test_slim_round_trip(build, randomise, through):
    tuned = randomise(build(), only_trainable=True).eval()
    slim = {key: tuned.state_dict()[key].clone() for key in tuned.trained_keys()}
    assert sum(v.numel() for k, v in slim.items() if k != '_extra_state') == sum(
        p.numel() for p in tuned.parameters() if p.requires_grad
    )
    fresh = build().eval()
    if through == 'torch':
        fresh.load_state_dict(slim, strict=True)
    else:
        mmengine_checkpoint.load_state_dict(fresh, slim, strict=True)
    with torch.no_grad():
        assert gap(fresh(image()), build().eval()(image())) > 1e-3
        assert gap(fresh(image()), tuned(image())) == 0


def test_prune_and_rebuild(build, randomise):
    """A tuned model cut by hand and a pruned one that loads its state are the same."""
    tuned = randomise(build(), only_trainable=True).eval()
    state = copy.deepcopy(tuned.state_dict())
    pruned = build(kept_depths=KEPT).eval()
    pruned.load_state_dict(state, strict=True)
    for stage, depth in zip(tuned.stages, KEPT, strict=True):
        del stage.blocks[depth:]
    with torch.no_grad():
        assert gap(pruned(image()), tuned(image())) == 0
    again = build(kept_depths=KEPT).eval()
    again.load_state_dict({key: pruned.state_dict()[key] for key in pruned.trained_keys()}, strict=True)
    with torch.no_grad():
        assert gap(again(image()), tuned(image())) == 0


@pytest.mark.parametrize('size', SIZES)
def test_fused_attention_makes_no_difference_to_a_tuned_model(build, randomise, size):
    fused, plain = (randomise(build(fused_attention=on), only_trainable=True).eval() for on in (True, False))
    with torch.no_grad():
        assert gap(fused(image(size)), plain(image(size))) < 1e-4


def test_bf16_autocast(build, randomise):
    model = randomise(build(), only_trainable=True).eval()
    exact = model(image())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = model(image())
        sum((out**2).mean() for out in outs).backward()
    assert gap([out.float() for out in outs], exact) < 0.1 * max(out.abs().max().item() for out in exact)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.dtype == torch.float32, name


@pytest.mark.parametrize('fused', [True, False])
def test_activation_checkpointing_gives_the_same_gradients(build, randomise, fused):
    models = [randomise(build(with_cp=on, fused_attention=fused), only_trainable=True).train() for on in (False, True)]
    runs = []
    found = []
    for model in models:
        calls = []
        # The FFN norm of a block runs twice where the block is checkpointed.
        model.stages[2].blocks[1].norm2.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(0)
        found.append(gradients(model, image()))
        runs.append(len(calls))
    assert runs == [1, 2]
    assert gap(found[0].values(), found[1].values()) < 1e-6


def test_deepcopy_is_equal_and_independent(build, randomise):
    model = randomise(build(), only_trainable=True).eval()
    with torch.no_grad():
        before = model(image())
        twin = copy.deepcopy(model)
        assert gap(twin(image()), before) == 0
        randomise(twin, seed=1)
        assert gap(twin(image()), before) > 1e-3
        assert gap(model(image()), before) == 0


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('qkv_bias', [True, False])
def test_merge_or_clear_refusal(host, cfg, tmp_path, randomise, size, qkv_bias):
    """The merged weights compute the same in the host's own backbone, also where windows are padded."""
    base = tmp_path / 'base.pth'
    stock = randomise(host.stock(qkv_bias=qkv_bias))
    torch.save({key: value for key, value in stock.state_dict().items() if not key.startswith('norm')}, base)
    model = host.pruned(base_checkpoint=str(base), adapter=cfg, qkv_bias=qkv_bias)
    randomise(model, seed=1, only_trainable=True).eval()
    stock.eval()
    with torch.no_grad():
        before = model(image(size))
    if not adapter_class(cfg).mergeable:
        state = copy.deepcopy(model.state_dict())
        for _, block in model.iter_blocks():
            with pytest.raises(ValueError, match=adapter_class(cfg).__name__):
                merge_block(block)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        return
    for _, block in model.iter_blocks():
        merge_block(block)
        assert len(block.adapters) == 0
    assert not any(p.requires_grad for _, block in model.iter_blocks() for p in block.parameters())
    stock.load_state_dict(
        {key: value for key, value in model.state_dict().items() if key != '_extra_state'}, strict=True
    )
    with torch.no_grad():
        assert gap(model(image(size)), before) < 1e-5
        assert gap(stock(image(size)), before) < 1e-5
