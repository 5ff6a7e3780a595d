from __future__ import annotations

import copy

import pytest
import torch
from mmdet.models.backbones.swin import ShiftWindowMSA

from mmsls.backbones.swin.attention import FusedWindowAttention
from mmsls.backbones.swin.windows import window_layout

WIDTH, HEADS = 12, 3


def pair(window=4, shift=0, randomise=None, fixed_table=False, **arguments):
    host = ShiftWindowMSA(WIDTH, HEADS, window, shift, **arguments)
    randomise(host)
    host.eval()
    return host, FusedWindowAttention(copy.deepcopy(host), fixed_table).eval()


def tokens(hw_shape, batch=2, **kwargs):
    return torch.randn(batch, hw_shape[0] * hw_shape[1], WIDTH, generator=torch.Generator().manual_seed(0), **kwargs)


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('hw_shape', [(8, 8), (8, 12), (5, 7), (3, 2), (1, 1), (13, 4)])
@pytest.mark.parametrize(('window', 'shift'), [(4, 0), (4, 2), (4, 1), (7, 3), (5, 2)])
def test_equals_the_host(randomise, window, shift, hw_shape, batch):
    host, fused = pair(window, shift, randomise)
    x = tokens(hw_shape, batch)
    with torch.no_grad():
        torch.testing.assert_close(fused(x, hw_shape), host(x, hw_shape), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('arguments', [{'qkv_bias': False}, {'qk_scale': 0.3}])
def test_equals_the_host_in_every_variant(randomise, arguments):
    host, fused = pair(4, 2, randomise, **arguments)
    x = tokens((6, 9))
    torch.testing.assert_close(fused(x, (6, 9)), host(x, (6, 9)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('training', [False, True])
def test_every_counter_of_flops_sees_what_it_sees_in_the_host(column, training):
    from mmengine.analysis import get_model_complexity_info
    from torch.utils.flop_counter import FlopCounterMode

    image, found = torch.zeros(1, 3, *column.odd_size), []
    for model in (column.stock(), column.pruned(fused_attention=True)):
        model.train(training)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
        found.append((get_model_complexity_info(model, inputs=(image,))['flops'], counter.get_total_flops()))
    assert found[0] == found[1]
    assert min(found[0]) > 0


@pytest.mark.parametrize('mode', ['trace', 'counter'])
def test_what_a_counter_sees_equals_the_fused_kernel(column, randomise, mode):
    from torch.utils.flop_counter import FlopCounterMode

    model, image = randomise(column.pruned(fused_attention=True)).eval(), torch.rand(2, 3, *column.odd_size)
    with torch.no_grad():
        expected = model(image)
        if mode == 'trace':
            found = torch.jit.trace(model, image, check_trace=False)(image)
        else:
            with FlopCounterMode(display=False):
                found = model(image)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_init_weights_goes_through_fused_attention_to_the_hosts_parts(column):
    """MMEngine walks children by `init_weights`: what lacks it stops the walk (mmpretrain's position-bias tables)."""
    states = []
    for build in (column.stock, lambda: column.pruned(fused_attention=True)):
        torch.manual_seed(0)
        model = build()
        torch.manual_seed(1)
        model.init_weights()
        states.append(model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert [key for key, value in states[0].items() if not torch.equal(value, states[1][key])] == []


@pytest.mark.parametrize('shift', [0, 2])
def test_gradients_equal_the_hosts(randomise, shift):
    found = []
    for module in pair(4, shift, randomise):
        x = tokens((6, 9)).requires_grad_()
        (module(x, (6, 9)) ** 2).sum().backward()
        found.append({'x': x.grad, **{name: p.grad for name, p in module.named_parameters()}})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


def test_keys_are_the_hosts(randomise):
    host, fused = pair(4, 2, randomise)
    assert list(fused.state_dict()) == list(host.state_dict())


def test_dropout_of_attention_in_training(randomise):
    _, fused = pair(4, 2, randomise, attn_drop_rate=0.5)
    x = tokens((8, 8))
    assert torch.equal(fused(x, (8, 8)), fused(x, (8, 8)))
    fused.train()
    assert not torch.equal(fused(x, (8, 8)), fused(x, (8, 8)))


# The cache of the expanded table.


def frozen(randomise):
    _, fused = pair(4, 2, randomise, fixed_table=True)
    return fused.requires_grad_(False)


def fresh_copy(fused):
    """Return the same weights without the cache."""
    twin = copy.deepcopy(fused)
    assert twin._bias is None
    return twin


def test_fixed_table_is_expanded_once(randomise):
    fused = frozen(randomise)
    fused(tokens((8, 8)), (8, 8))
    first = fused._bias[1]
    fused(tokens((8, 4)), (8, 4))
    assert fused._bias[1] is first


@pytest.mark.parametrize('assign', [False, True])
def test_table_loaded_anew_is_seen(randomise, assign):
    fused, x = frozen(randomise), tokens((8, 8))
    before = fused(x, (8, 8))
    state = {key: value.clone() for key, value in fused.state_dict().items()}
    state['w_msa.relative_position_bias_table'] += torch.randn(state['w_msa.relative_position_bias_table'].shape)
    fused.load_state_dict(state, assign=assign)
    after = fused(x, (8, 8))
    assert not torch.allclose(after, before)
    assert torch.equal(after, fresh_copy(fused)(x, (8, 8)))


def test_table_that_becomes_trainable_gets_its_gradient(randomise):
    fused, x = frozen(randomise), tokens((8, 8))
    fused(x, (8, 8))
    table = fused.w_msa.relative_position_bias_table.requires_grad_()
    optimizer = torch.optim.SGD([table], lr=10.0)
    before = fused(x, (8, 8))
    (before**2).sum().backward()
    assert table.grad.abs().sum() > 0
    optimizer.step()
    after = fused(x, (8, 8))
    assert not torch.allclose(after, before)
    table.requires_grad_(False)
    torch.testing.assert_close(fused(x, (8, 8)), after)


def test_frozen_copy_that_is_averaged_behind_autograds_back_is_followed(randomise):
    """EMA copies and mmdet's mean teachers have no gradient and change through `.data`, which raises no version."""
    _, fused = pair(4, 2, randomise)
    teacher = fused.requires_grad_(False)
    x = tokens((8, 8))
    before = teacher(x, (8, 8))
    table = teacher.w_msa.relative_position_bias_table
    table.data.mul_(0.5).add_(torch.randn(table.shape))
    after = teacher(x, (8, 8))
    assert not torch.allclose(after, before)
    assert torch.equal(after, fresh_copy(teacher)(x, (8, 8)))


def test_training_after_inference_mode(randomise):
    """What inference mode leaves in the caches must be usable under autograd."""
    window_layout.cache_clear()
    fused, x = frozen(randomise), tokens((8, 8))
    with torch.inference_mode():
        expected = fused(x, (8, 8)).clone()
    x.requires_grad_()
    out = fused(x, (8, 8))
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(out, expected)


def test_module_that_was_built_in_inference_mode_works(randomise):
    with torch.inference_mode():
        fused = frozen(randomise)
        first = fused(tokens((8, 8)), (8, 8))
        assert torch.equal(first, fused(tokens((8, 8)), (8, 8)))


def test_another_precision_gets_its_own_bias(randomise):
    fused, x = frozen(randomise), tokens((8, 8))
    exact = fused(x, (8, 8))
    half = fused.bfloat16()(x.bfloat16(), (8, 8))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.05, rtol=0.05)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert frozen(randomise)(x, (8, 8)).isfinite().all()
