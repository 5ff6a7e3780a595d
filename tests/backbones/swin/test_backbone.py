from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmengine.config import ConfigDict
from torch import nn

from mmsls.adapters import Adapter
from mmsls.features.recorder import FeatureRecorder
from mmsls.pruning_index import PruningIndex

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
SIZES = [(64, 64), (61, 83)]


def image(size=(64, 64), batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def gap(left, right):
    assert [x.shape for x in left] == [x.shape for x in right]
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


def outputs(model, size=(64, 64)):
    model.eval()
    with torch.no_grad():
        return model(image(size))


# The host's backbone, by default.


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('variant', [{}, {'out_indices': (1, 3)}, {'qkv_bias': False, 'patch_norm': False}])
def test_same_checkpoint_same_outputs(host, randomise, size, variant):
    stock = randomise(host.stock(**variant))
    for fused, tolerance in ((True, 1e-4), (False, 0.0)):
        ours = host.pruned(**variant, fused_attention=fused)
        assert ours.load_state_dict(stock.state_dict(), strict=True)
        assert list(ours.state_dict()) == list(stock.state_dict())
        assert gap(outputs(ours, size), outputs(stock, size)) <= tolerance


def test_same_training_step_without_a_base(host, randomise):
    """Drop path and dropout included: the random numbers are drawn in the same order."""
    gradients = []
    for model in (randomise(host.stock()), randomise(host.pruned(fused_attention=False))):
        model.train()
        torch.manual_seed(0)
        sum((out**2).mean() for out in model(image())).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert gap(*gradients) == 0


@pytest.mark.parametrize('kept', [(2, 2, 3, 2), (2, 1, 2, 0), (1, 0, 1, 1), (0, 2, 0, 2), (0, 0, 0, 1)])
@pytest.mark.parametrize('size', SIZES)
def test_truncation_is_the_host_cut_by_hand(host, base_file, base_state, kept, size):
    cut = host.stock()
    cut.load_state_dict(base_state, strict=False)
    for stage, depth in zip(cut.stages, kept, strict=True):
        del stage.blocks[depth:]
    for fused, tolerance in ((True, 1e-4), (False, 0.0)):
        ours = host.pruned(base_checkpoint=base_file, kept_depths=kept, fused_attention=fused)
        assert gap(outputs(ours, size), outputs(cut, size)) <= tolerance
    plain = host.pruned(kept_depths=kept)
    plain.load_state_dict(cut.state_dict(), strict=True)
    assert gap(outputs(plain, size), outputs(cut, size)) <= 1e-4


def test_truncated_stage_keeps_drop_path_and_shift_of_its_blocks(host):
    full, cut = host.stock(), host.pruned(kept_depths=(2, 1, 2, 1))
    for (stage, position), block in cut.iter_blocks():
        twin = full.stages[stage].blocks[position]
        assert block.attn.drop.drop_prob == twin.attn.drop.drop_prob
        assert block.attn.shift_size == twin.attn.shift_size


def test_parameters_really_fall(host, base_file):
    full, cut = (host.pruned(base_checkpoint=base_file, kept_depths=kept) for kept in (None, (2, 2, 1, 0)))
    removed = [*full.stages[2].blocks[1:], *full.stages[3].blocks]
    size = sum(p.numel() for p in full.parameters())
    assert (
        size - sum(p.numel() for p in cut.parameters()) == sum(p.numel() for b in removed for p in b.parameters()) > 0
    )
    assert cut.is_pruned
    assert not full.is_pruned
    assert (
        cut.fingerprint() == full.fingerprint() == {'type': 'SwinTransformer', 'embed_dims': 8, 'depths': [2, 2, 3, 2]}
    )


# Arguments.


@pytest.mark.parametrize(
    'kept',
    [(2, 2, 3), (2, 2, 4, 2), (2, 2, -1, 2), (0, 0, 0, 0), (2, 2, 1.5, 2), (2, 2, True, 2), 'abcd', 3, (2, 2, 3, 2, 1)],
)
def test_depths_that_do_not_fit_are_refused(mmdet_host, kept):
    with pytest.raises(ValueError, match='kept_depths'):
        mmdet_host.pruned(kept_depths=kept)


def test_depths_may_come_from_numpy(mmdet_host):
    assert mmdet_host.pruned(kept_depths=np.array([2, 1, 3, 0])).kept_depths == (2, 1, 3, 0)


@pytest.mark.parametrize('how', ['pretrained', 'init_cfg'])
def test_arguments_that_the_host_stumbles_over_work(mmdet_host, base_state, tmp_path, how):
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in base_state.items()}}, tmp_path / 'swin.pth')
    path = str(tmp_path / 'swin.pth')
    given = {'pretrained': path, 'init_cfg': {'type': 'Pretrained', 'checkpoint': path}}
    model = mmdet_host.pruned(mlp_ratio=4.0, **{how: given[how]})
    model.init_weights()
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in base_state.items() if key in own and 'norm' not in key)


def make_index(path, **changes):
    depths = changes.pop('depths', [2, 2, 3, 2])
    index = PruningIndex.create(
        scores={(s, b): 0.5 - 0.2 * b for s, depth in enumerate(depths) for b in range(depth)},
        backbone={'type': 'SwinTransformer', 'embed_dims': 8, 'depths': depths, **changes},
        adapter=None,
        base_sha256=None,
        provenance={},
        scope='stage',
        min_depth=1,
    )
    index.save(path)
    return index


def test_index_and_depths_by_hand_are_the_same(mmdet_host, tmp_path, base_file):
    path = str(tmp_path / 'index.json')
    index = make_index(path)
    assert index.kept_depths != (2, 2, 3, 2)
    from_index = mmdet_host.pruned(pruning_index=path, base_checkpoint=base_file)
    by_hand = mmdet_host.pruned(kept_depths=list(index.kept_depths), base_checkpoint=base_file)
    assert from_index.kept_depths == by_hand.kept_depths == index.kept_depths
    assert list(from_index.state_dict()) == list(by_hand.state_dict())


def test_bad_indices_are_refused(mmdet_host, tmp_path):
    path = tmp_path / 'index.json'
    with pytest.raises(FileNotFoundError, match=r'index\.json'):
        mmdet_host.pruned(pruning_index=str(path))
    make_index(path, embed_dims=96)
    with pytest.raises(ValueError, match=r'embed_dims.*(96.*8|8.*96)'):
        mmdet_host.pruned(pruning_index=str(path))
    make_index(path, depths=[2, 2, 6, 2])
    with pytest.raises(ValueError, match=r'depths'):
        mmdet_host.pruned(pruning_index=str(path))
    make_index(path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r'index\.json'):
        mmdet_host.pruned(pruning_index=str(path))
    make_index(path)
    content = json.loads(path.read_text())
    content['kept_depths'] = [2, 2, 4, 2]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='kept_depths'):
        mmdet_host.pruned(pruning_index=str(path))


def test_index_and_depths_together_are_refused(mmdet_host, tmp_path):
    path = str(tmp_path / 'index.json')
    make_index(path)
    with pytest.raises(ValueError, match=r'pruning_index.*kept_depths.*not both'):
        mmdet_host.pruned(pruning_index=path, kept_depths=(1, 1, 1, 1))


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'out_indices': (0, 5)}, r'out_indices must name stages 0 to 3.*got \(0, 5\)'),
        ({'out_indices': ()}, r'out_indices must name stages 0 to 3.*got \(\)'),
        ({'fused_attention': 'no'}, "fused_attention must be True or False, got 'no'"),
    ],
)
def test_arguments_out_of_range_are_refused(mmdet_host, arguments, said):
    with pytest.raises(ValueError, match=said):
        mmdet_host.pruned(**arguments)


def test_a_tasks_checkpoint_is_no_base(mmdet_host, base_file, tmp_path):
    tuned = mmdet_host.pruned(base_checkpoint=base_file, adapter=CONVPASS)
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in tuned.state_dict().items()}}, tmp_path / 'slim.pth')
    with pytest.raises(ValueError, match=r"base_checkpoint: '.*slim\.pth' is a checkpoint that mmsls wrote for a task"):
        mmdet_host.pruned(base_checkpoint=str(tmp_path / 'slim.pth'))


def test_frozen_stages_beside_a_base_are_ignored_aloud(mmdet_host, base_file, monkeypatch):
    lines = []
    monkeypatch.setattr('mmsls.backbones.arguments.print_log', lambda text, *_: lines.append(text))
    mmdet_host.pruned(base_checkpoint=base_file, frozen_stages=2)
    assert 'frozen_stages=2 is ignored: base_checkpoint is set' in lines


def test_adapter_without_base_is_refused(mmdet_host):
    with pytest.raises(ValueError, match=r'adapter.*base_checkpoint'):
        mmdet_host.pruned(adapter=CONVPASS)


def test_arguments_from_a_config_file_work(host, base_file):
    arguments = ConfigDict(base_checkpoint=base_file, adapter=dict(CONVPASS), kept_depths=[2, 1, 1, 1])
    model = host.pruned(**arguments)
    assert model.adapter_cfg['rank'] == 4
    json.dumps(model.adapter_cfg)
    assert type(model.adapter_cfg) is dict


# Initialisation.


@pytest.fixture
def full_checkpoint(mmdet_host, randomise, tmp_path):
    """A whole detector's worth of backbone tensors, as mmdet saves them."""
    model = randomise(mmdet_host.stock(), seed=3)
    path = tmp_path / 'full.pth'
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in model.state_dict().items()}}, path)
    return str(path), model


@pytest.mark.parametrize('kept', [None, (2, 1, 2, 0)])
def test_init_cfg_loads_a_full_checkpoint(host, full_checkpoint, kept):
    path, source = full_checkpoint
    model = host.pruned(kept_depths=kept, init_cfg=ConfigDict(type='Pretrained', checkpoint=path))
    model.init_weights()
    expected = host.stock()
    expected.load_state_dict(source.state_dict())
    for stage, depth in zip(expected.stages, kept or (2, 2, 3, 2), strict=True):
        del stage.blocks[depth:]
    assert gap(outputs(model), outputs(expected)) < 1e-4
    assert model.train() is model
    assert all(p.requires_grad for p in model.parameters())


def test_init_cfg_set_after_construction_counts(mmdet_host, full_checkpoint):
    path, source = full_checkpoint
    model = mmdet_host.pruned(kept_depths=(2, 1, 2, 0))
    model.init_cfg = ConfigDict(type='Pretrained', checkpoint=path)
    model.init_weights()
    assert torch.equal(model.patch_embed.projection.weight, source.patch_embed.projection.weight)


@pytest.mark.parametrize('kept', [None, (2, 1, 2, 0)])
def test_init_from_scratch_works_without_init_cfg(host, kept):
    model = host.pruned(kept_depths=kept)
    before = model.stages[0].blocks[0].ffn.layers[1].weight.clone()
    model.init_weights()
    assert not torch.equal(before, model.stages[0].blocks[0].ffn.layers[1].weight)
    assert model.stages[0].blocks[0].ffn.layers[1].weight.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(
    'inherited', [{'init_cfg': {'type': 'Pretrained', 'checkpoint': 'absent.pth'}}, {'pretrained': 'absent.pth'}]
)
def test_with_a_base_init_weights_does_nothing_and_init_cfg_is_ignored(host, base_file, randomise, inherited, caplog):
    model = randomise(host.pruned(base_checkpoint=base_file, adapter=CONVPASS, **inherited), only_trainable=True)
    before = copy.deepcopy(model.state_dict())
    model.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_init_weights_of_a_whole_model_leaves_base_and_adapters_alone(mmdet_host, base_file, randomise):
    from mmengine.model import BaseModule

    class Parent(BaseModule):
        def __init__(self):
            super().__init__()
            self.backbone = randomise(
                mmdet_host.pruned(base_checkpoint=base_file, adapter=CONVPASS), only_trainable=True
            )
            self.head = nn.Linear(2, 2)

    parent = Parent()
    before = copy.deepcopy(parent.backbone.state_dict())
    parent.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in parent.backbone.state_dict().items())


# Modes and freezing.


def test_train_and_eval_return_self(host, base_file):
    for model in (host.pruned(), host.pruned(base_checkpoint=base_file)):
        assert model.train() is model
        assert model.training
        assert model.train(False) is model
        assert model.eval() is model
        assert not model.training


@pytest.mark.parametrize('adapter', [None, CONVPASS, {'type': 'RepAdapter'}])
def test_frozen_means_frozen(host, base_file, adapter):
    model = host.pruned(base_checkpoint=base_file, adapter=adapter)
    for train in (model.train, lambda: nn.Sequential(model).train()):
        model.eval()
        train()
        inside = {id(m) for part in model.modules() if isinstance(part, Adapter) for m in part.modules()}
        norms = {id(getattr(model, f'norm{i}')) for i in range(4)}
        loud = [m for m in model.modules() if isinstance(m, (nn.Dropout, DropPath)) and m.training]
        assert {id(m) for m in loud} <= inside
        assert len(loud) == sum(isinstance(m, Adapter) for m in model.modules())
        assert {id(m) for m in model.modules() if m.training} == inside | norms | {id(model)}
    assert any(isinstance(m, DropPath) and m.drop_prob > 0 for m in model.modules())
    frozen = [p for name, p in model.named_parameters() if 'adapters.' not in name and not name.startswith('norm')]
    assert frozen
    assert not any(p.requires_grad for p in frozen)


def test_frozen_base_without_adapters_is_deterministic_in_train_mode(host, base_file):
    model = host.pruned(base_checkpoint=base_file).train()
    with torch.no_grad():
        assert gap(model(image()), model(image())) == 0


@pytest.mark.parametrize('frozen_stages', [0, 2, 4])
def test_frozen_stages_do_not_freeze_adapters(host, base_file, frozen_stages):
    models = [
        host.pruned(base_checkpoint=base_file, adapter=CONVPASS, frozen_stages=n).train() for n in (-1, frozen_stages)
    ]
    trained = [[name for name, p in model.named_parameters() if p.requires_grad] for model in models]
    assert trained[0] == trained[1]
    modes = [[name for name, m in model.named_modules() if m.training] for model in models]
    assert modes[0] == modes[1]


@pytest.mark.parametrize('kept', [None, (2, 1, 2, 0)])
def test_frozen_stages_without_a_base_are_the_hosts(host, kept):
    model = host.pruned(frozen_stages=2, kept_depths=kept).train()
    stock = host.stock(frozen_stages=2)
    stock.train()
    ours, theirs = ({n for n, p in m.named_parameters() if p.requires_grad} for m in (model, stock))
    assert ours == set(model.tensors_here(dict.fromkeys(theirs)))
    assert not model.stages[1].blocks[0].training
    assert model.stages[2].blocks[0].training


# Recording.


def test_recorded_tokens_are_what_the_host_puts_out(host, base_file):
    model = host.pruned(base_checkpoint=base_file, adapter=CONVPASS, kept_depths=(2, 1, 2, 0)).eval()
    with FeatureRecorder(model) as recorder, torch.no_grad():
        outs = model(image((61, 83)))
        (recorded,) = recorder.take()
    assert (
        list(recorded) == [block_id for block_id, _ in model.iter_blocks()] == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]
    )
    assert [tokens.stride for tokens in recorded.values()] == [4, 4, 8, 16, 16]
    assert [tokens.hw_shape for tokens in recorded.values()] == [(16, 21), (16, 21), (8, 11), (4, 6), (4, 6)]
    for stage, top in ((0, 1), (1, 0), (2, 1)):
        norm = getattr(model, f'norm{stage}')
        torch.testing.assert_close(norm(recorded[stage, top].tokens).transpose(1, 2).flatten(), outs[stage].flatten())
    # Stage 3 is empty: its output is stage 2's patch merging.
    merged = model.downsample_tokens(2, recorded[2, 1])
    assert (merged.hw_shape, merged.stride) == ((2, 3), 32)
    torch.testing.assert_close(model.norm3(merged.tokens).transpose(1, 2).flatten(), outs[3].flatten())
    assert model.downsample_tokens(3, merged) is merged


def test_recording_sees_a_checkpointed_block_once(mmdet_host, base_file):
    model = mmdet_host.pruned(base_checkpoint=base_file, adapter=CONVPASS, with_cp=True).train()
    with FeatureRecorder(model) as recorder:
        sum(out.sum() for out in model(image())).backward()
        assert len(recorder.take()) == 1


def test_flops_can_be_counted_and_training_goes_on(mmdet_host, base_file):
    """Tracing must not leave its tensors in a cache."""
    from mmengine.analysis import get_model_complexity_info

    model = mmdet_host.pruned(base_checkpoint=base_file, adapter=CONVPASS)
    first, second = (get_model_complexity_info(model.eval(), (3, 64, 64))['flops'] for _ in range(2))
    assert first == second > 0
    sum(out.sum() for out in model.train()(image())).backward()
