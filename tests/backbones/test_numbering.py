"""Blocks kept wherever they stand: the host cut by hand, whatever checkpoint the weights come from."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmsls.backbones.identity import EXTRA_STATE, pack, unpack
from mmsls.checkpoint import slim
from mmsls.pruning_index import PruningIndex
from mmsls.scoring import Curve

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}
SWIN = ((0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 1))
VIT = ((0, 0), (0, 2), (0, 3))


def lists_of(model):
    if hasattr(model, 'stages'):
        return [stage.blocks for stage in model.stages]
    if not hasattr(model, 'model'):
        return [model.layers]
    return [model.model.blocks] if hasattr(model.model, 'blocks') else [stage.blocks for stage in model.model.layers]


def cut(model, kept):
    """Cut a host's model by hand."""
    for stage, blocks in enumerate(lists_of(model)):
        for block in reversed(range(len(blocks))):
            if (stage, block) not in kept:
                del blocks[block]
    return model


def outputs(model):
    model.eval()
    inner = getattr(model, 'model', model)
    fixed = any(cls.__name__.startswith(('BEiT', 'Beit')) for cls in type(inner).__mro__)  # position tables of one size
    size = (64, 64) if fixed else (61, 83)
    model.requires_grad_(False)  # frozen, mmseg's attention takes another kernel
    with torch.no_grad():
        found = model(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)))
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def gap(left, right):
    assert [x.shape for x in left] == [x.shape for x in right]
    return max((x - y).abs().max().item() for x, y in zip(left, right, strict=True))


def same(left, right):
    ours, theirs = left.state_dict(), right.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def last_layer(model, kept):
    """The last linear layer of the topmost kept block."""
    block = dict(model.iter_blocks())[kept[-1]]
    if not hasattr(block, 'mlp'):
        return block.ffn.layers[1]
    return block.mlp.fc2 if hasattr(block.mlp, 'fc2') else block.mlp.w3


class Net(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


@pytest.fixture
def kept(column):
    return VIT if len(column.kept) == 1 else SWIN


@pytest.fixture
def stock(column, randomise):
    return randomise(column.stock())


@pytest.fixture
def base(column, stock, tmp_path):
    torch.save(column.base_of(stock), tmp_path / 'base.pth')
    return str(tmp_path / 'base.pth')


@pytest.fixture
def build(column, base):
    def run(**arguments):
        return column.pruned(**{'base_checkpoint': base, 'adapter': CONVPASS, 'fused_attention': False, **arguments})

    return run


@pytest.fixture
def by_hand(column, stock, kept):
    """The host's model cut by hand, with the outputs that are left: removed ones become those below."""
    found = cut(copy.deepcopy(stock), kept)
    if len(lists_of(found)) == 1:
        found.out_indices = [0, 2]  # 0, 1 and 3 of the full depth: 1 becomes 0
    return found


def expected(by_hand):
    found = outputs(by_hand)
    return (found[0], found[0], found[1]) if len(lists_of(by_hand)) == 1 else found


# What is built.


def test_kept_blocks_are_the_host_cut_by_hand(column, build, kept, by_hand):
    ours = build(adapter=None, kept_blocks=kept)
    if len(lists_of(by_hand)) > 1:
        ours.load_state_dict({**ours.state_dict(), **{k: v for k, v in by_hand.state_dict().items() if 'norm' in k}})
    assert gap(outputs(ours), expected(by_hand)) == 0
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in by_hand.parameters())
    assert [block for block, _ in ours.iter_blocks()] == list(ours.kept_blocks) == list(kept)
    assert ours.is_pruned
    assert ours.fingerprint() == build().fingerprint()


def test_blocks_keep_their_drop_path_and_window_shift(column, build, kept):
    full, ours = (dict(build(adapter=None, kept_blocks=blocks).iter_blocks()) for blocks in (None, kept))

    def traits(block):
        return [
            (name, getattr(module, trait))
            for name, module in block.named_modules()
            for trait in ('drop_prob', 'shift_size')
            if hasattr(module, trait)
        ]

    assert all(traits(block) == traits(full[name]) for name, block in ours.items())
    assert any(traits(block) for block in ours.values())


def test_without_a_base_a_full_checkpoint_and_one_of_these_blocks_load_alike(column, stock, kept, by_hand):
    for state in (stock.state_dict(), by_hand.state_dict()):
        ours = column.pruned(kept_blocks=kept, fused_attention=False)
        load_state_dict(Net(ours), {f'backbone.{key}': value for key, value in state.items()}, strict=False)
        assert gap(outputs(ours), expected(by_hand)) == 0
        assert not set(ours.state_dict()) - set(by_hand.state_dict())


def test_init_cfg_without_a_base_reaches_the_kept_blocks(mmdet_host, randomise, tmp_path):
    stock = randomise(mmdet_host.stock())
    torch.save({'state_dict': Net(stock).state_dict()}, tmp_path / 'full.pth')
    init = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'full.pth')}
    ours = mmdet_host.pruned(kept_blocks=SWIN, init_cfg=init)
    ours.init_weights()
    loaded, theirs = ours.state_dict(), cut(stock, SWIN).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in theirs.items() if '.blocks.' in key)


def test_adapters_are_placed_by_the_numbers_of_the_full_depth(build, kept):
    last = kept[-1]
    ours = build(kept_blocks=kept, adapter={**CONVPASS, 'stages': (last[0],), 'blocks': (last[1],)})
    assert [block for block, module in ours.iter_blocks() if getattr(module, 'adapters', None)] == [last]


def test_index_and_blocks_by_hand_are_the_same(build, kept, tmp_path):
    full = build()
    scores = {block: float(block in kept) for block, _ in full.iter_blocks()}
    share = len(kept) / len(scores)
    index = PruningIndex.create(scores=Curve(scores, 'loss'), backbone=full.fingerprint(), keep=share)
    index.save(tmp_path / 'index.json')
    ours = build(pruning_index=str(tmp_path / 'index.json'))
    assert ours.kept_blocks == index.kept_blocks == kept
    assert list(ours.state_dict()) == list(build(kept_blocks=list(map(list, kept))).state_dict())


def test_the_lowest_blocks_by_hand_are_kept_depths(build, kept):
    stages = 1 + kept[-1][0]
    lowest = [(stage, 0) for stage in range(stages)]
    ours, cut_above = build(kept_blocks=lowest), build(kept_depths=(1,) * stages)
    assert list(ours.state_dict()) == list(cut_above.state_dict())
    assert torch.equal(ours.state_dict()[EXTRA_STATE], cut_above.state_dict()[EXTRA_STATE])
    assert ours.subset == ()
    assert 'kept_blocks' not in ours.identity()


# What is loaded.


@pytest.fixture
def tuned(build, randomise):
    return randomise(build(), only_trainable=True).eval()


def slimmed(model):
    checkpoint = {'meta': {}, 'state_dict': copy.deepcopy(Net(model).state_dict())}
    slim(Net(model), checkpoint)
    return checkpoint['state_dict']


def load(model, state):
    load_state_dict(Net(model), copy.deepcopy(state), strict=True)
    return model.eval()


def tensors(model):
    return {key: value for key, value in model.state_dict().items() if key != EXTRA_STATE}


def cut_tensors(model, kept):
    """The tensors of a tuned model that is cut by hand."""
    return tensors(cut(copy.deepcopy(model), kept))


@pytest.mark.parametrize('slim_one', [True, False])
def test_a_tuned_checkpoint_loads_into_the_kept_blocks(build, kept, tuned, slim_one):
    with torch.no_grad():
        last_layer(tuned, kept).weight.mul_(2)  # a tensor of the base, changed
    ours = load(build(kept_blocks=kept), slimmed(tuned) if slim_one else Net(tuned).state_dict())
    theirs = cut_tensors(tuned, kept)
    assert list(tensors(ours)) == list(theirs)
    assert all(torch.equal(value, theirs[key]) for key, value in tensors(ours).items())


def test_a_slim_checkpoint_of_the_kept_blocks_comes_back(build, kept, tuned):
    ours = load(build(kept_blocks=kept), slimmed(tuned))
    with torch.no_grad():
        last_layer(ours, kept).weight.mul_(2)
    state = slimmed(ours)
    said = unpack(state[f'backbone.{EXTRA_STATE}'])
    assert said['kept_blocks'] == [list(block) for block in kept]
    assert sum(said['kept_depths']) == len(kept)
    again = load(build(kept_blocks=kept), state)
    assert same(again, ours)
    fewer = load(build(kept_blocks=kept[1:]), state)
    theirs = cut_tensors(tuned, kept[1:])
    assert set(tensors(fewer)) == set(theirs)
    assert gap(outputs(fewer), outputs(load(build(kept_blocks=kept[1:]), slimmed(fewer)))) == 0


def test_the_base_of_kept_blocks_is_read_again_under_their_numbers(build, kept, tuned):
    ours = build(kept_blocks=kept)
    before = tensors(ours)
    with torch.no_grad():
        last_layer(ours, kept).weight.mul_(2)
    load(ours, slimmed(build(kept_blocks=kept)))
    assert all(torch.equal(value, before[key]) for key, value in tensors(ours).items() if 'adapters' not in key)


def test_a_plain_checkpoint_of_full_depth_or_of_these_blocks_is_known_as_the_base(build, stock, kept, by_hand):
    for state in (stock.state_dict(), by_hand.state_dict()):
        ours = build(kept_blocks=kept)
        before = tensors(ours)
        named = {f'backbone.{key}': value for key, value in state.items()}
        load_state_dict(Net(ours), named, strict=False)
        after = tensors(ours)
        assert all(torch.equal(after[key], before[key]) for key in ours.base_record)


def test_a_checkpoint_that_lacks_a_block_is_refused(build, kept, tuned):
    state = slimmed(load(build(kept_blocks=kept), slimmed(tuned)))
    gone, new = ((0, 1), (0, 0)) if (0, 1) in kept else ((0, 2), (0, 1))
    other = [new if block == gone else block for block in kept]
    with pytest.raises(ValueError, match=rf'kept_blocks: this checkpoint does not hold block \(0, {new[1]}\)'):
        load(build(kept_blocks=other), state)
    more = [*kept, new] if len(kept) == 3 else None
    with pytest.raises(ValueError, match='kept_depths: this checkpoint holds'):
        load(build(kept_blocks=more), state)


@pytest.mark.parametrize(
    'wrong', [[[0, 0], [0, 0]], [[0, 1], [0, 0]], 'all', [[0]], [[0, -1]], [[0, True]], [[0, 0], [5, 1]], {'a': 1}]
)
def test_blocks_that_an_identity_cannot_hold_are_refused(build, kept, tuned, wrong):
    state = slimmed(tuned)
    key = f'backbone.{EXTRA_STATE}'
    state[key] = pack({**unpack(state[key]), 'kept_blocks': wrong})
    with pytest.raises(ValueError, match='kept_blocks is'):
        load(build(kept_blocks=kept), state)


# Bad arguments.


@pytest.mark.parametrize(
    'wrong',
    [[], 'all', 3, [[0]], [[0, 0], [0, 0]], [[0, 9]], [[9, 0]], [[0, -1]], [[0, 1.0]], [[True, 0]], [0, 1], ['00']],
)
def test_blocks_that_are_not_there_are_refused(mmdet_host, wrong):
    with pytest.raises(ValueError, match='kept_blocks must hold distinct'):
        mmdet_host.pruned(kept_blocks=wrong)


def test_blocks_and_depths_together_and_a_bridge_are_refused(mmdet_host):
    with pytest.raises(ValueError, match=r'give kept_depths \(.*\) or kept_blocks \(.*\), not both'):
        mmdet_host.pruned(kept_blocks=SWIN, kept_depths=(1, 1, 1, 1))
    with pytest.raises(ValueError, match='bridge: it stands behind the lowest blocks of a stage, and kept_blocks'):
        mmdet_host.pruned(kept_blocks=SWIN, bridge=True)
    assert mmdet_host.pruned(kept_blocks=[(0, 0), (1, 0), (2, 0), (3, 0)], bridge=True).bridges()
