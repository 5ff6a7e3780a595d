"""MMEngine's `activation_checkpointing=[...]` on a frozen base: the same gradients as without it."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn

from mmsls.backbones.recomputing import mend_checkpointing

ADAPTERS = [{'type': 'mmsls.Convpass', 'rank': 4, 'dropout': 0.0}, {'type': 'mmsls.BitFit'}, {'type': 'mmsls.LoRA'}]


class Model(nn.Module):
    """A backbone and what stands behind it, as a detector calls them."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Linear(1, 1)

    def forward(self, image):
        return self.neck(torch.stack([(out**2).mean() for out in self.backbone(image)])[:, None]).sum()


@pytest.fixture(scope='module')
def base(column, randomise, tmp_path_factory):
    path = tmp_path_factory.mktemp('base') / f'{column.name}.pth'
    torch.save(column.base_of(randomise(column.stock())), path)
    return str(path)


def blocks_of(model):
    return [name for name, module in model.named_modules() if module in [b for _, b in model.backbone.iter_blocks()]]


def gradients(model, image, backward=torch.Tensor.backward):
    model.zero_grad()
    torch.manual_seed(0)
    backward(model(image))
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def same(left, right):
    assert left.keys() == right.keys()
    for name, gradient in left.items():
        assert right[name] is not None, name
        torch.testing.assert_close(right[name], gradient, msg=name)


@pytest.mark.parametrize('adapter', ADAPTERS, ids=lambda cfg: cfg['type'])
@pytest.mark.parametrize('wrapped', ['backbone', 'stages', 'blocks', 'inside a block', 'all at once'])
def test_gradients_are_those_without_checkpointing(column, base, randomise, adapter, wrapped):
    model = Model(randomise(column.pruned(base_checkpoint=base, adapter=adapter), only_trainable=True))
    blocks = blocks_of(model)
    stages = [name for name, _ in model.named_modules() if name.count('.') == 2 and 'stages' in name] or blocks
    ffn = 'mlp' if hasattr(next(model.backbone.iter_blocks())[1], 'mlp') else 'ffn'
    inside = [f'{block}.{ffn}' for block in blocks]  # mmseg's ViT calls it with a keyword
    names = {'backbone': ['backbone'], 'stages': stages, 'blocks': blocks, 'inside a block': inside}
    names['all at once'] = ['backbone', *stages, *blocks, *inside, *blocks]
    image = torch.rand(2, 3, *column.sizes[0])
    expected = gradients(model.train(), image)
    assert None not in expected.values()
    turn_on_activation_checkpointing(model, names[wrapped])
    same(expected, gradients(model.train(), image))
    # As on a GPU, where a thread of autograd's own computes the activations again.
    same(expected, gradients(model, image, backward_elsewhere))


def backward_elsewhere(loss):
    failed = []

    def run():
        try:
            loss.backward()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []


def test_activations_are_computed_again(column, base):
    model = Model(column.pruned(base_checkpoint=base, adapter=ADAPTERS[0]))
    calls = []
    blocks = blocks_of(model)
    norm = model.get_submodule(blocks[-2])
    (norm.norm2 if hasattr(norm, 'norm2') else norm.ln2).register_forward_hook(lambda *_: calls.append(1))
    turn_on_activation_checkpointing(model, blocks)
    gradients(model.train(), torch.rand(2, 3, 64, 64))
    assert len(calls) == 2


def test_a_part_behind_a_frozen_backbone_is_mended_too(column, base):
    model = Model(column.pruned(base_checkpoint=base, adapter={'type': 'mmsls.HeadOnly'}).requires_grad_(False))
    expected = gradients(model, torch.rand(2, 3, 64, 64))
    turn_on_activation_checkpointing(model, ['neck'])
    assert mend_checkpointing(model) == 1
    assert mend_checkpointing(model) == 0
    torch.manual_seed(0)
    assert gradients(model, torch.rand(2, 3, 64, 64)).keys() == expected.keys() == {'neck.weight', 'neck.bias'}
    assert model.neck.weight.grad is not None


def test_a_copy_runs_its_own_parameters(column, base, randomise):
    """EMA copies the model; a closure over the original would go on with the original's parameters."""
    model = Model(randomise(column.pruned(base_checkpoint=base, adapter=ADAPTERS[0]), only_trainable=True)).eval()
    turn_on_activation_checkpointing(model, ['backbone'])
    model.train().eval()
    image = torch.rand(1, 3, 64, 64)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            expected = model(image)
            torch.testing.assert_close(twin(image), expected)
            randomise(twin.backbone, seed=1, only_trainable=True)
            assert twin(image) != expected
            torch.testing.assert_close(model(image), expected)
