"""The contract table: every adapter (row) in every host's backbone (column, COLUMNS of conftest); one row each."""

from __future__ import annotations

import copy
import inspect
import itertools
import json

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch

from mmsls.adapters import Adapter, Selection, adapter_class, normalise_adapter_cfg
from mmsls.adapters.base import PARTS, config_parameters
from mmsls.deploy.merging import merge_backbone
from mmsls.registry import ADAPTERS

ROWS = {
    'AdaptFormer': {'type': 'mmsls.AdaptFormer', 'rank': 4, 'scale': 0.5},
    'BitFit': {'type': 'mmsls.BitFit'},
    'Bottleneck': {'type': 'mmsls.Bottleneck', 'rank': 4, 'scale': 0.5},
    'Convpass': {'type': 'mmsls.Convpass', 'rank': 4, 'scale': 0.5},
    'HeadOnly': {'type': 'mmsls.HeadOnly'},
    'LoRA': {'type': 'mmsls.LoRA', 'rank': 4, 'scale': 0.5},
    'Mona': {'type': 'mmsls.Mona', 'rank': 4, 'scale': 0.5},
    'NormTuning': {'type': 'mmsls.NormTuning'},
    'RepAdapter': {'type': 'mmsls.RepAdapter', 'rank': 4, 'scale': 0.5},
    'SSF': {'type': 'mmsls.SSF'},
}
RANKED = [name for name, cfg in ROWS.items() if 'rank' in cfg]
WHOLE = {part: slot for slot, parts in PARTS.items() for part in parts}


@pytest.fixture(params=ROWS)
def cfg(request):
    return ROWS[request.param]


@pytest.fixture(scope='module')
def base(column, randomise, tmp_path_factory):
    """The tensors of a column's base checkpoint, and its path."""
    state = column.base_of(randomise(column.stock()))
    path = tmp_path_factory.mktemp('base') / f'{column.name}.pth'
    torch.save(state, path)
    return state, str(path)


@pytest.fixture
def build(column, base, cfg):
    def run(**arguments):
        return column.pruned(**{'base_checkpoint': base[1], 'adapter': cfg, **arguments})

    return run


@pytest.fixture
def stock(column, base):
    model = column.stock()
    model.load_state_dict(base[0], strict=False)
    # Frozen as ours is: torch's matmul folds a batch, and so rounds, differently for a weight that needs a gradient.
    model.requires_grad_(False).eval()
    return model


def image(size=(64, 64), batch=2, seed=0):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def gap(left, right):
    assert [x.shape for x in left] == [x.shape for x in right]
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


def block_tokens(model, x):
    """Return every block's output; where a cut leaves outputs without a block, the forward may stop after blocks."""
    found = []
    handles = model.record_blocks(lambda _, tokens: found.append(tokens.tokens))
    model(x)
    for handle in handles:
        handle.remove()
    return found


def option(column, name, value):
    """Return a host's argument; skip where the host has none of that name."""
    if name not in inspect.signature(column.stock_class).parameters:
        pytest.skip(f"{column.name}'s backbone has no argument {name}")
    return {name: value}


def trains(model):
    """Whether a backbone has anything to train: a ViT under HeadOnly has not."""
    return any(parameter.requires_grad for parameter in model.parameters())


def gradients(model, x):
    model.zero_grad()
    loss = sum((out**2).mean() for out in model(x))
    if trains(model):
        loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def test_every_registered_adapter_has_a_row():
    assert set(ADAPTERS.module_dict) == set(ROWS)


def test_config_is_spelt_out_and_survives_json(cfg):
    full = normalise_adapter_cfg(cfg)
    assert json.loads(json.dumps(full)) == full
    assert normalise_adapter_cfg(full) == full
    assert set(full) - {'type'} == set(config_parameters(adapter_class(cfg)))
    assert adapter_class(cfg).training_only <= set(full)


@pytest.mark.parametrize('cfg', [ROWS[name] for name in RANKED], ids=RANKED)
def test_bad_rank_is_refused(build, cfg):
    for rank in (0, -1, 1.5, True, '8', None):
        with pytest.raises(ValueError, match='rank'):
            build(adapter={**cfg, 'rank': rank})


def test_a_new_adapter_is_the_identity(column, build, stock):
    plain, fused = build(fused_attention=False), build(fused_attention=True)
    with torch.no_grad():
        for size, mode in itertools.product(column.sizes, (True, False)):
            x = image(size)
            expected = stock(x)
            assert gap(plain.train(mode)(x), expected) == 0
            assert gap(fused.train(mode)(x), expected) < 1e-4


@pytest.mark.parametrize('cfg', [ROWS[name] for name in RANKED], ids=RANKED)
def test_scale_zero_is_the_identity_whatever_was_trained(build, cfg, stock, randomise):
    model = build(adapter={**cfg, 'scale': 0.0}, fused_attention=False).eval()
    for adapter in (module for module in model.modules() if isinstance(module, Adapter)):
        randomise(adapter)
    with torch.no_grad():
        assert gap(model(image()), stock(image())) == 0


def test_only_what_the_method_owns_and_output_norms_train(column, build, cfg):
    model, cls = build(), adapter_class(cfg)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    owned = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules()
        if isinstance(module, Adapter) or prefix in column.output_norms
        for name, _ in module.named_parameters()
    }
    assert trained == owned | model.selected
    if issubclass(cls, Selection):
        assert not any(isinstance(module, Adapter) for module in model.modules())
        assert bool(model.selected) is (cls.__name__ != 'HeadOnly')
        return
    for _, block in model.iter_blocks():
        assert {WHOLE.get(slot, slot) for slot in block.adapters} == set(cls.slots_for())
        assert cls.slots_for()


def test_only_chosen_blocks_are_adapted(column, build, cfg):
    placement = {'stages': 0, 'blocks': (1,)}
    model = build(adapter={**cfg, **placement})
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    matches = [model.block_pattern.match(name) for name in trained if not name.startswith(column.output_norms or '-')]
    found = {(int(match.groupdict().get('stage') or 0), int(match['block'])) for match in matches}
    assert found == (set() if cfg['type'] == 'mmsls.HeadOnly' else {(0, 1)})
    assert (model.adapter_cfg['stages'], model.adapter_cfg['blocks']) == ([0], [1])
    fresh = build(adapter={**cfg, **placement})
    fresh.load_state_dict({key: model.state_dict()[key] for key in model.trained_keys()}, strict=True)
    with pytest.raises(ValueError, match='adapter: this checkpoint holds'):
        build().load_state_dict(model.state_dict())


def test_every_trained_parameter_gets_a_gradient(build, randomise):
    model = randomise(build(), only_trainable=True).train()
    found = gradients(model, image())
    assert [name for name, gradient in found.items() if not gradient.abs().sum() > 0] == []
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_base_weights_do_not_move_in_training(build, randomise, base):
    model = randomise(build(), only_trainable=True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    gradients(model, image())
    optimizer.step()
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in base[0].items() if key not in model.selected)
    assert not any(torch.equal(state[key], base[0][key]) for key in model.selected if key in base[0])


def test_slim_round_trip(build, randomise):
    tuned = randomise(build(), only_trainable=True).eval()
    slim = {key: tuned.state_dict()[key].clone() for key in tuned.trained_keys()}
    assert sum(v.numel() for k, v in slim.items() if k != '_extra_state') == sum(
        p.numel() for p in tuned.parameters() if p.requires_grad
    )
    with torch.no_grad():
        expected, untuned = tuned(image()), build().eval()(image())
        assert (gap(expected, untuned) > 1e-3) is trains(tuned)
        for load in (torch.nn.Module.load_state_dict, mmengine_checkpoint.load_state_dict):
            fresh = build().eval()
            load(fresh, slim, strict=True)
            assert gap(fresh(image()), expected) == 0


def test_slim_weights_load_into_a_copy_without_gradients(build, randomise):
    """As EMA's twin is: what belongs to the task is known without asking which parameters need a gradient."""
    tuned = randomise(build(), only_trainable=True).eval()
    twin = copy.deepcopy(build()).requires_grad_(False).eval()
    twin.load_state_dict({key: tuned.state_dict()[key] for key in tuned.trained_keys()}, strict=True)
    assert set(twin.trained_keys()) == set(tuned.trained_keys())
    with torch.no_grad():
        assert gap(twin(image()), tuned(image())) == 0


def test_prune_and_rebuild(column, build, randomise):
    """A tuned model cut by hand and a pruned one that loads its state are the same."""
    tuned = randomise(build(), only_trainable=True).eval()
    state = copy.deepcopy(tuned.state_dict())
    pruned = build(kept_depths=column.kept).eval()
    pruned.load_state_dict(state, strict=True)
    for blocks, depth in zip(tuned.block_lists(), column.kept, strict=True):
        del blocks[depth:]
    tuned.out_indices, tuned.output_blocks = pruned.out_indices, pruned.output_blocks
    with torch.no_grad():
        expected = block_tokens(tuned, image())
        assert gap(block_tokens(pruned, image()), expected) == 0
    again = build(kept_depths=column.kept).eval()
    again.load_state_dict({key: pruned.state_dict()[key] for key in pruned.trained_keys()}, strict=True)
    with torch.no_grad():
        assert gap(block_tokens(again, image()), expected) == 0
        assert gap(again(image()), pruned(image())) == 0


def test_fused_attention_makes_no_difference_to_a_tuned_model(column, build, randomise):
    fused, plain = (randomise(build(fused_attention=on), only_trainable=True).eval() for on in (True, False))
    with torch.no_grad():
        for size in column.sizes:
            assert gap(fused(image(size)), plain(image(size))) < 1e-4


def test_bf16_autocast(build, randomise):
    model = randomise(build(), only_trainable=True).eval()
    exact = model(image())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = model(image())
        loss = sum((out**2).mean() for out in outs)
        if trains(model):
            loss.backward()
    assert gap([out.float() for out in outs], exact) < 0.1 * max(out.abs().max().item() for out in exact)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.dtype == torch.float32, name


@pytest.mark.parametrize('fused', [True, False])
def test_activation_checkpointing_gives_the_same_gradients(column, build, randomise, fused):
    switches = [option(column, 'with_cp', on) for on in (False, True)]
    models = [randomise(build(**switch, fused_attention=fused), only_trainable=True).train() for switch in switches]
    runs = []
    found = []
    for model in models:
        calls = []
        # The FFN norm of a block runs twice where the block is checkpointed.
        block = [block for _, block in model.iter_blocks()][-2]
        norm = block.norm2 if hasattr(block, 'norm2') else block.ln2
        norm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(0)
        found.append(gradients(model, image()))
        runs.append(len(calls))
    # A block without adapters is the host's own, which checkpoints where its input needs a gradient: not under
    # HeadOnly.
    inside = any(model.block_pattern.match(name) for name in found[0])
    assert runs == [1, 2 if inside else 1]
    assert not found[0] or gap(found[0].values(), found[1].values()) < 1e-6


def test_deepcopy_is_equal_and_independent(build, randomise):
    model = randomise(build(), only_trainable=True).eval()
    with torch.no_grad():
        before = model(image())
        twin = copy.deepcopy(model)
        assert gap(twin(image()), before) == 0
        randomise(twin, seed=1)
        assert gap(twin(image()), before) > 1e-3
        assert gap(model(image()), before) == 0


@pytest.mark.parametrize('qkv_bias', [None, False])
def test_merge_or_clear_refusal(column, cfg, tmp_path, randomise, qkv_bias):
    """Merged weights compute the same in the host's backbone, also with padded windows and without a q, k, v bias."""
    arguments = {} if qkv_bias is None else option(column, 'qkv_bias', qkv_bias)
    base = tmp_path / 'base.pth'
    stock = randomise(column.stock(**arguments))
    torch.save(column.base_of(stock), base)
    model = column.pruned(base_checkpoint=str(base), adapter=cfg, **arguments)
    randomise(model, seed=1, only_trainable=True).eval()
    stock.eval()
    name = adapter_class(cfg).__name__
    if not adapter_class(cfg).mergeable or name in column.unmerged:
        state = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match='cannot be merged exactly' if name in column.unmerged else name):
            merge_backbone(model)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        return
    with torch.no_grad():
        before = [model(image(size)) for size in column.sizes]
    merge_backbone(model)
    assert not any(isinstance(module, Adapter) for module in model.modules())
    stock.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        for size, expected in zip(column.sizes, before, strict=True):
            assert gap(model(image(size)), expected) < 1e-5
            assert gap(stock(image(size)), expected) < 1e-5
