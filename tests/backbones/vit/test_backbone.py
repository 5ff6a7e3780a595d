from __future__ import annotations

import copy

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmengine.config import ConfigDict
from torch import nn

from mmsls.adapters import Adapter
from mmsls.backbones.identity import unpack
from mmsls.features.recorder import FeatureRecorder
from mmsls.pruning_index import PruningIndex

EXACT = {'fused_attention': False}  # the host's outputs, bit for bit
CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
SIZES = [(64, 64), (64, 96), (61, 83)]
VARIANTS = [
    {},
    {'final_norm': False, 'out_indices': -1},
    {'with_cls_token': False, 'patch_norm': True},
    {'pre_norm': True, 'qkv_bias': False, 'patch_bias': False},
    {'out_origin': True, 'img_size': (96, 48)},
]


def image(size=(64, 64), batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def gap(left, right):
    assert [x.shape for x in left] == [x.shape for x in right]
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


def outputs(model, size=(64, 64)):
    model.eval()
    with torch.no_grad():
        return model(image(size))


@pytest.fixture
def vit(mmseg_vit_host):
    return mmseg_vit_host


@pytest.fixture
def vit_base(vit, randomise, tmp_path):
    path = tmp_path / 'vit.pth'
    torch.save(randomise(vit.stock()).state_dict(), path)
    return str(path)


@pytest.fixture
def logged(monkeypatch):
    lines = []
    for module in ('vit.backbone', 'one_stage', 'base', 'arguments'):
        monkeypatch.setattr(f'mmsls.backbones.{module}.print_log', lambda text, *_: lines.append(text))
    return lines


# The host's backbone, by default.


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('variant', VARIANTS)
def test_same_checkpoint_same_outputs(vit, randomise, size, variant):
    stock, ours = randomise(vit.stock(**variant)), vit.pruned(**EXACT, **variant)
    assert ours.load_state_dict(stock.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(stock.state_dict())
    assert gap(outputs(ours, size), outputs(stock, size)) == 0
    fused = vit.pruned(fused_attention=True, **variant)
    assert list(fused.state_dict()) == list(stock.state_dict())
    fused.load_state_dict(stock.state_dict())
    assert 0 < gap(outputs(fused, size), outputs(stock, size)) < 1e-4


def test_class_token_output_is_the_hosts(vit, randomise):
    stock, ours = randomise(vit.stock(output_cls_token=True)), vit.pruned(**EXACT, output_cls_token=True)
    ours.load_state_dict(stock.state_dict())
    for mine, theirs in zip(outputs(ours), outputs(stock), strict=True):
        assert gap(mine, theirs) == 0


def test_same_training_step_without_a_base(vit, randomise):
    """Drop path and dropout included: the random numbers are drawn in the same order."""
    gradients = []
    for model in (randomise(vit.stock()), randomise(vit.pruned(**EXACT))):
        model.train()
        torch.manual_seed(0)
        sum((out**2).mean() for out in model(image())).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert gap(*gradients) == 0


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('kept', [3, 2, 1])
def test_truncation_is_the_host_cut_by_hand(vit, vit_base, kept, size):
    cut = vit.stock(out_indices=(0, kept - 1))
    cut.load_state_dict(torch.load(vit_base))
    del cut.layers[kept:]
    ours = vit.pruned(**EXACT, base_checkpoint=vit_base, out_indices=(0, 3), kept_depths=kept)
    expected = outputs(cut.requires_grad_(False), size)
    assert gap(outputs(ours, size), expected if kept > 1 else expected * 2) == 0
    assert ours.is_pruned
    assert [b.ffn.dropout_layer.drop_prob for b in list(ours.layers)[1:]] == [
        b.ffn.dropout_layer.drop_prob for b in list(cut.layers)[1:]
    ]
    assert ours.fingerprint() == {'type': 'VisionTransformer', 'embed_dims': 16, 'depths': [4]}
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in cut.parameters())


# Outputs after pruning.


def test_removed_outputs_become_the_last_kept_blocks_and_the_log_says_so(vit, vit_base, logged):
    full = vit.pruned(base_checkpoint=vit_base, out_indices=(1, 2, 3))
    del logged[:]
    model = vit.pruned(base_checkpoint=vit_base, out_indices=(1, 2, 3), kept_depths=2)
    assert any('out_indices (1, 2, 3) became (1, 1, 1)' in line for line in logged)
    assert any('final norm now follows block 1' in line for line in logged)
    outs = outputs(model, (61, 83))
    assert len(outs) == 3
    assert gap(outs[1:], outs[:2]) == 0
    with FeatureRecorder(full) as recorder:
        outputs(full, (61, 83))
        normed = full.ln1(recorder.take()[0][0, 1].tokens)
    torch.testing.assert_close(outs[2].flatten(2), normed.transpose(1, 2), rtol=0, atol=0)


def test_outputs_that_stay_are_not_touched_and_not_logged(vit, vit_base, logged):
    full = vit.pruned(base_checkpoint=vit_base, out_indices=(0, 1), final_norm=False)
    del logged[:]
    model = vit.pruned(base_checkpoint=vit_base, out_indices=(0, 1), final_norm=False, kept_depths=3)
    assert gap(outputs(model), outputs(full)) == 0
    assert not [line for line in logged if 'out_indices' in line or 'final norm' in line]


@pytest.mark.parametrize(('out_indices', 'adapter'), [((0, 2), CONVPASS), ((0, 3), CONVPASS), ((0, 2), None)])
def test_adapters_that_no_output_depends_on_are_frozen_and_warned_of(vit, vit_base, logged, out_indices, adapter):
    model = vit.pruned(base_checkpoint=vit_base, adapter=adapter, out_indices=out_indices)
    unread = out_indices == (0, 2) and adapter is not None
    assert bool([line for line in logged if 'leave it out with kept_depths=3' in line]) == unread
    trained = [p.requires_grad for name, p in model.layers[3].named_parameters() if 'adapters' in name]
    assert trained == [adapter is not None and not unread] * len(trained)
    assert all(key in model.trained_keys() for key in model.state_dict() if 'layers.3' in key and 'adapters' in key)


def test_repeated_outputs_come_after_the_embedded_patches(vit, vit_base):
    stock = vit.stock(out_origin=True, out_indices=(1, 2, 3))
    stock.load_state_dict(torch.load(vit_base))
    model = vit.pruned(base_checkpoint=vit_base, out_origin=True, out_indices=(1, 2, 3), kept_depths=1)
    outs = outputs(model)
    assert len(outs) == 4
    assert gap(outs[:1], outputs(stock)[:1]) == 0
    assert gap(outs[1:2], outs[:1]) > 1e-3


@pytest.mark.parametrize('wrong', [(2, 4), (-1,), [1, -5], 4, ()])
def test_outputs_that_are_no_blocks_are_refused(vit, wrong):
    with pytest.raises(ValueError, match='out_indices must name blocks 0 to 3'):
        vit.pruned(out_indices=wrong)


def test_a_real_head_that_asks_for_too_much_is_told_what_there_is(vit):
    from mmseg.models.decode_heads import FCNHead

    head = FCNHead(in_channels=16, channels=8, num_convs=1, in_index=3, num_classes=2, norm_cfg={'type': 'BN'})
    with pytest.raises(IndexError, match=r'output 3 \(in_index\) of a ViT that gives 2: set out_indices, now \(0, 3\)'):
        head(vit.pruned(out_indices=(0, 3))(image()))
    assert head(vit.pruned(out_indices=(0, 1, 2, 3), kept_depths=1)(image())).shape == (2, 2, 8, 8)


# Arguments.


@pytest.mark.parametrize('kept', [3, (3,), [3], ConfigDict(a=[3]).a])
def test_kept_depths_may_be_a_number_or_hold_one(vit, kept):
    assert vit.pruned(kept_depths=kept).kept_depths == (3,)


@pytest.mark.parametrize('kept', [0, 5, -1, (3, 1), (), 1.5, True, 'a'])
def test_depths_that_do_not_fit_are_refused(vit, kept):
    with pytest.raises(ValueError, match='kept_depths'):
        vit.pruned(kept_depths=kept)


def test_an_index_file_prunes(vit, tmp_path):
    PruningIndex.create(
        scores={(0, block): score for block, score in enumerate((0.0, 0.1, 0.4, 0.5))},
        backbone={'type': 'VisionTransformer', 'embed_dims': 16, 'depths': [4]},
        adapter=None,
        base_sha256=None,
        provenance={},
        scope='model',
        min_depth=0,
    ).save(tmp_path / 'index.json')
    model = vit.pruned(pruning_index=str(tmp_path / 'index.json'))
    assert model.kept_depths == (3,)
    with pytest.raises(ValueError, match='depths'):
        vit.pruned(pruning_index=str(tmp_path / 'index.json'), num_layers=6)


def test_adapter_without_base_is_refused(vit):
    with pytest.raises(ValueError, match=r'adapter.*base_checkpoint'):
        vit.pruned(adapter=CONVPASS)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('frozen_exclude', ['norm']),
        ('init_cfg', {'type': 'Pretrained', 'checkpoint': 'absent.pth'}),
        ('pretrained', 'absent.pth'),
    ],
)
def test_host_arguments_that_a_base_makes_idle_are_logged(vit, vit_base, randomise, logged, argument, value):
    model = vit.pruned(base_checkpoint=vit_base, adapter=CONVPASS, **{argument: value})
    assert any(argument in line and 'ignored' in line for line in logged)
    assert {name.split('.')[2] for name, p in model.named_parameters() if p.requires_grad} == {'adapters'}
    before = copy.deepcopy(randomise(model, only_trainable=True).state_dict())
    model.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_freezing_without_a_base_is_the_hosts(vit):
    ours, stock = (build(frozen_exclude=['pos_embed']) for build in (vit.pruned, vit.stock))
    trained = [{name for name, p in model.named_parameters() if p.requires_grad} for model in (ours, stock)]
    assert trained[0] == trained[1] == {'pos_embed'}


# Initialisation without a base.


@pytest.mark.parametrize('kept', [None, 2])
def test_init_cfg_loads_a_full_checkpoint(vit, vit_base, kept):
    model = vit.pruned(kept_depths=kept, img_size=96, init_cfg={'type': 'Pretrained', 'checkpoint': vit_base})
    model.init_weights()
    expected = vit.stock(img_size=96, init_cfg={'type': 'Pretrained', 'checkpoint': vit_base})
    expected.init_weights()
    theirs = expected.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('kept', [None, 2])
def test_init_from_scratch_works_without_init_cfg(vit, kept):
    model = vit.pruned(kept_depths=kept)
    model.init_weights()
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.3)


# Modes and freezing.


@pytest.mark.parametrize('norm_eval', [True, False])
def test_train_and_eval_return_self(vit, vit_base, norm_eval):
    for model in (vit.pruned(norm_eval=norm_eval), vit.pruned(base_checkpoint=vit_base, norm_eval=norm_eval)):
        assert model.train() is model
        assert model.training
        assert model.eval() is model
        assert not model.training


@pytest.mark.parametrize('adapter', [None, CONVPASS, {'type': 'RepAdapter', 'rank': 4}])
def test_frozen_means_frozen(vit, vit_base, adapter):
    """Class token, position embedding, final norm and every block; no drop path or dropout but in adapters."""
    model = vit.pruned(base_checkpoint=vit_base, adapter=adapter, kept_depths=3)
    for train in (model.train, lambda: nn.Sequential(model).train()):
        model.eval()
        train()
        inside = {id(m) for part in model.modules() if isinstance(part, Adapter) for m in part.modules()}
        assert {id(m) for m in model.modules() if m.training} == inside | {id(model)}
    assert any(isinstance(m, DropPath) and m.drop_prob > 0 for m in model.modules())
    assert model.drop_after_pos.p > 0
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if '.adapters.' in name}
    assert bool(trained) == (adapter is not None)
    if adapter is None:
        with torch.no_grad():
            assert gap(model(image()), model(image())) == 0


def test_identity_and_slim_keys(vit, vit_base):
    model = vit.pruned(base_checkpoint=vit_base, adapter=CONVPASS, kept_depths=3)
    assert unpack(model.state_dict()['_extra_state'])['kept_depths'] == [3]
    assert {key.split('.')[0] for key in model.trained_keys()} == {'layers', '_extra_state'}


# The token grid and recording.


@pytest.mark.parametrize('with_cls_token', [True, False])
@pytest.mark.parametrize('adapter', [None, CONVPASS])
def test_recorded_tokens_are_the_blocks_own_outputs(vit, vit_base, with_cls_token, adapter):
    """Before the final norm, class token apart, over the true grid of an input that is no multiple of the patch."""
    model = vit.pruned(
        base_checkpoint=vit_base, adapter=adapter, with_cls_token=with_cls_token, kept_depths=3, out_indices=(0, 2)
    ).eval()
    with FeatureRecorder(model) as recorder, torch.no_grad():
        outs = model(image((61, 83)))
        (recorded,) = recorder.take()
    assert list(recorded) == [(0, 0), (0, 1), (0, 2)]
    assert {(tokens.hw_shape, tokens.stride) for tokens in recorded.values()} == {((8, 11), 8)}
    first, last = recorded[0, 0], recorded[0, 2]
    torch.testing.assert_close(first.tokens.transpose(1, 2), outs[0].flatten(2), rtol=0, atol=0)
    torch.testing.assert_close(model.ln1(last.tokens).transpose(1, 2), outs[1].flatten(2))
    if with_cls_token:
        assert first.extra_tokens.shape == (2, 1, 16)
    else:
        assert first.extra_tokens is None
    assert model.downsample_tokens(0, last) is last


def test_class_token_is_the_extra_token(vit, vit_base):
    model = vit.pruned(base_checkpoint=vit_base, output_cls_token=True, out_indices=(1,)).eval()
    with FeatureRecorder(model) as recorder, torch.no_grad():
        ((_, class_token),) = model(image())
        (recorded,) = recorder.take()
    assert torch.equal(recorded[0, 1].extra_tokens[:, 0], class_token)


def test_adapters_see_the_grid_and_the_class_token_apart(vit, vit_base, randomise):
    """Transposing image, patch kernel and adapters' kernels transposes the patches and leaves the class token alone."""
    model = randomise(vit.pruned(base_checkpoint=vit_base, adapter=CONVPASS, output_cls_token=True, img_size=(64, 64)))
    model.eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.patch_embed.projection.weight.copy_(model.patch_embed.projection.weight.transpose(2, 3))
        grid = model.pos_embed[:, 1:].unflatten(1, (8, 8)).transpose(1, 2).flatten(1, 2)
        twin.pos_embed.copy_(torch.cat([model.pos_embed[:, :1], grid], dim=1))
        for theirs, ours in zip(twin.layers, model.layers, strict=True):
            for slot in theirs.adapters:
                theirs.adapters[slot].conv.weight.copy_(ours.adapters[slot].conv.weight.transpose(2, 3))
        x = image((32, 72))
        for (grid, token), (turned, same) in zip(model(x), twin(x.transpose(2, 3)), strict=True):
            torch.testing.assert_close(grid, turned.transpose(2, 3), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(token, same, atol=1e-4, rtol=1e-4)


def test_a_copy_notes_its_own_grid(vit, vit_base, randomise):
    """EMAHook deep-copies the model; both then see images of different sizes in turns."""
    model = randomise(vit.pruned(base_checkpoint=vit_base, adapter=CONVPASS), only_trainable=True).eval()
    expected = {size: outputs(model, size) for size in SIZES}
    twin = copy.deepcopy(model)
    for size in SIZES:
        outputs(twin, (32, 40))
        assert gap(outputs(model, size), expected[size]) == 0
        outputs(model, (32, 40))
        assert gap(outputs(twin, size), expected[size]) == 0
    with FeatureRecorder(twin) as recorder:
        outputs(model, (64, 64))
        outputs(twin, (32, 40))
        (recorded,) = recorder.take()
    assert recorded[0, 3].hw_shape == (4, 5)


def test_a_block_alone_says_that_it_lacks_the_grid(vit, vit_base):
    model = vit.pruned(base_checkpoint=vit_base, adapter=CONVPASS)
    with pytest.raises(RuntimeError, match='token grid'):
        model.layers[0](torch.zeros(1, 65, 16))


def test_activation_checkpointing_keeps_each_passs_grid(vit, vit_base, randomise):
    """Two passes of different sizes before one backward: what is computed again must use its own grid."""
    found = []
    for with_cp in (False, True):
        model = vit.pruned(base_checkpoint=vit_base, adapter={**CONVPASS, 'dropout': 0.0}, with_cp=with_cp)
        randomise(model, only_trainable=True).train()
        with FeatureRecorder(model) as recorder:
            losses = [sum((out**2).mean() for out in model(image(size))) for size in ((64, 96), (61, 83))]
            sum(losses).backward()
            assert len(recorder.take()) == 2
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    assert gap(*found) < 1e-6


def test_flops_can_be_counted_and_training_goes_on(vit, vit_base):
    from mmengine.analysis import get_model_complexity_info

    for fused in (True, False):
        model = vit.pruned(base_checkpoint=vit_base, adapter=CONVPASS, kept_depths=2, fused_attention=fused)
        first, second = (get_model_complexity_info(model.eval(), (3, 64, 64))['flops'] for _ in range(2))
        assert first == second > 0
        sum(out.sum() for out in model.train()(image())).backward()


def test_outputs_survive_copies_and_slices(vit):
    outs = outputs(vit.pruned())
    assert isinstance(outs, tuple)
    assert gap(copy.deepcopy(outs), outs) == 0
    assert gap(outs[-2:], (outs[1], outs[2])) == 0


# Fused attention.


def test_fused_attention_drops_weights_in_training_alone(vit, randomise):
    arguments = {'attn_drop_rate': 0.5, 'drop_rate': 0.0, 'drop_path_rate': 0.0, 'fused_attention': True}
    model = randomise(vit.pruned(**arguments))
    with torch.no_grad():
        assert gap(model.eval()(image()), model(image())) == 0
        assert gap(model.train()(image()), model(image())) > 1e-3


def test_fused_attention_has_the_hosts_gradients(vit, randomise):
    found = []
    for fused in (True, False):
        model = randomise(vit.pruned(fused_attention=fused)).eval()
        sum((out**2).mean() for out in model(image((61, 83)))).backward()
        found.append([p.grad for p in model.parameters()])
    assert gap(*found) < 1e-4
