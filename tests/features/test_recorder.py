from __future__ import annotations

import gc
import weakref

import pytest
import torch

from mmsls.features import BlockTokens, FeatureRecorder


def image() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48)


def hook_count(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_one_pass_gives_every_block_detached(colour_backbone):
    backbone = colour_backbone()
    with FeatureRecorder(backbone) as recorder:
        outs = backbone(image())
        (recorded,) = recorder.take()
    assert list(recorded) == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert [tokens.hw_shape for tokens in recorded.values()] == [(8, 12), (8, 12), (4, 6), (2, 3)]
    assert outs[0].requires_grad
    assert not any(tokens.tokens.requires_grad for tokens in recorded.values())
    assert torch.equal(recorded[2, 0].tokens, outs[2].detach().flatten(2).transpose(1, 2))


def test_extra_tokens_are_detached_too():
    tokens = BlockTokens(torch.ones(1, 4, 2, requires_grad=True), (2, 2), 16, torch.ones(1, 1, 2, requires_grad=True))
    assert not tokens.detach().extra_tokens.requires_grad
    assert tokens.detach().stride == 16


@pytest.mark.parametrize('depths', [(2, 1, 1), (0, 0, 2), (1,)])
def test_every_forward_is_a_pass_of_its_own(colour_backbone, depths):
    backbone = colour_backbone(depths)
    with FeatureRecorder(backbone) as recorder:
        for _ in range(3):
            backbone(image())
        passes = recorder.take()
        assert [len(recorded) for recorded in passes] == [sum(depths)] * 3
        assert recorder.take() == []
        backbone(image())
        assert len(recorder.take()) == 1


def test_second_attach_is_harmless(colour_backbone):
    backbone = colour_backbone()
    recorder = FeatureRecorder(backbone).attach().attach()
    backbone(image())
    assert len(recorder.take()) == 1
    assert hook_count(backbone) == 4
    recorder.detach()
    recorder.detach()
    assert hook_count(backbone) == 0


def test_detach_frees_what_was_not_taken(colour_backbone):
    backbone = colour_backbone()
    recorder = FeatureRecorder(backbone).attach()
    with torch.no_grad():
        backbone(image())
    tensor = weakref.ref(recorder._passes[0][1, 0].tokens)
    assert tensor() is not None
    recorder.detach()
    gc.collect()
    assert tensor() is None
    backbone(image())
    assert recorder.take() == []


def test_leaving_by_an_error_detaches(colour_backbone):
    backbone = colour_backbone()
    with pytest.raises(RuntimeError, match='boom'), FeatureRecorder(backbone):
        raise RuntimeError('boom')
    assert hook_count(backbone) == 0
