"""Backbones that share their trunk give what each of them gives alone, and the trunk runs once."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmsls.backbones.trunk import SharedTrunk

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}


def image(seed=0, size=(64, 64)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def features(outs):
    return [part for out in outs for part in (out if isinstance(out, tuple | list) else [out])]


def upper(host):
    return {**CONVPASS, 'stages': [2, 3]} if 'swin' in host.name else {**CONVPASS, 'blocks': [2, 3]}


@pytest.fixture(scope='module')
def files(tmp_path_factory, randomise):
    made = {}

    def base_of(host):
        if host.name not in made:
            made[host.name] = str(tmp_path_factory.mktemp('base') / 'base.pth')
            torch.save(host.base_of(randomise(host.stock())), made[host.name])
        return made[host.name]

    return base_of


def three(host, base, randomise):
    """Adapters in upper blocks, the same at another depth, and no adapters."""
    arguments = [{'adapter': upper(host)}, {'adapter': upper(host), 'kept_depths': host.kept}, {}]
    models = [host.pruned(base_checkpoint=base, **more).eval() for more in arguments]
    return {str(seed): randomise(model, seed, only_trainable=True) for seed, model in enumerate(models)}


@torch.no_grad()
def test_every_host_shares_what_lies_below_adapters_and_cuts(column, files, randomise):
    models = three(column, files(column), randomise)
    expected = {name: features(copy.deepcopy(model)(image())) for name, model in models.items()}
    trunk = SharedTrunk(models)
    swin = 'swin' in column.name
    assert trunk.shared == ({'0': 4, '1': 3, '2': 9} if swin else {'0': 2, '1': 2, '2': 4})
    ran = []
    for model in models.values():
        model.trunk()[1].attn.register_forward_hook(lambda *_: ran.append(1))
    for name in ('1', '0', '2', '0'):
        found = features(models[name](image()))
        assert all(torch.equal(x, y) for x, y in zip(found, expected[name], strict=True))
        for out in found:
            out.zero_()  # a head that writes into what it reads takes nothing from the others
    assert (len(ran), trunk.runs) == (1, 1)
    models['0'](image(1))
    assert (len(ran), trunk.runs) == (2, 2)


@pytest.fixture
def pair(mmseg_vit_host, files, randomise):
    found = three(mmseg_vit_host, files(mmseg_vit_host), randomise)
    return {name: found[name] for name in ('0', '2')}


@torch.no_grad()
def test_an_image_that_its_owner_writes_into_is_another_one(pair):
    first = pair['0']
    expected = features(copy.deepcopy(first)(image(1)))
    trunk = SharedTrunk(pair)
    buffer = image()
    first(buffer)
    buffer.copy_(image(1))
    assert all(torch.equal(x, y) for x, y in zip(features(first(buffer)), expected, strict=True))
    assert trunk.runs == 2


@torch.no_grad()
def test_threads_have_passes_of_their_own(pair):
    alone = copy.deepcopy(pair)
    jobs = [(name, seed) for seed in range(4) for name in pair] * 3
    SharedTrunk(pair)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: pair[job[0]](image(job[1]))[-1], jobs))
    assert all(torch.equal(out, alone[name](image(seed))[-1]) for out, (name, seed) in zip(found, jobs, strict=True))


@torch.no_grad()
def test_another_precision_runs_anew(pair):
    trunk = SharedTrunk(pair)
    pair['0'](image())
    with torch.autocast('cpu', torch.bfloat16):
        assert pair['2'](image())[-1].isfinite().all()
    assert trunk.runs == 2
    pair['2'].double()(image().double())
    assert trunk.runs == 3


def test_what_a_gradient_is_wanted_of_runs_anew(pair):
    trunk = SharedTrunk(pair)
    for name in pair:
        inputs = image().requires_grad_()
        pair[name](inputs)[-1].sum().backward()
        assert inputs.grad.any()
    assert trunk.runs == 2


@torch.no_grad()
def test_nothing_is_kept_of_what_was_forgotten(pair):
    trunk = SharedTrunk(pair)
    pair['0'](image())
    trunk.forget()
    pair['2'](image())
    assert trunk.runs == 2


# Bad input.


def test_a_copy_is_refused(pair):
    SharedTrunk(pair)
    with pytest.raises(TypeError, match='copy the one of the library'):
        copy.deepcopy(pair['0'])


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'adapter': CONVPASS}, r"'b' shares no block: layers\.0\..* is its own: tune with adapter="),
        ({'adapter': {'type': 'mmsls.NormTuning'}}, r"'b' shares no block: layers\.0\.ln1"),
        ({'kept_blocks': ((0, 2), (0, 3))}, "'b' shares no block: its lowest block was removed"),
        ({'img_size': 96}, "'a' and 'b' share no trunk, their backbones have img_size 64 and 96"),
        ({'fused_attention': False}, "'a' and 'b' compute their lower blocks in different ways"),
    ],
)
def test_what_cannot_be_shared_is_said_in_a_line(mmseg_vit_host, files, arguments, words):
    base = files(mmseg_vit_host)
    left, right = (mmseg_vit_host.pruned(base_checkpoint=base, **more) for more in ({}, arguments))
    with pytest.raises(ValueError, match=words):
        SharedTrunk({'a': left, 'b': right})


def test_another_base_is_refused(mmseg_vit_host, files, randomise, tmp_path):
    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock(), seed=1)), tmp_path / 'other.pth')
    bases = (files(mmseg_vit_host), str(tmp_path / 'other.pth'))
    left, right = (mmseg_vit_host.pruned(base_checkpoint=base) for base in bases)
    with pytest.raises(ValueError, match='share no trunk, their backbones have base_sha256'):
        SharedTrunk({'a': left, 'b': right})


def test_a_tensor_that_became_the_tasks_own_is_not_shared(pair):
    with torch.no_grad():
        pair['2'].layers[1].ffn.layers[1].bias += 1
    assert SharedTrunk(pair).shared == {'0': 2, '2': 1}
