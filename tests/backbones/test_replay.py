"""A pass again, with what blocks gave before, or something else, in their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmsls.backbones.replay import recording, run_up_to, substituted


@pytest.fixture
def model(mmseg_vit_host, randomise):
    return randomise(mmseg_vit_host.pruned()).eval()


def image(seed=0):
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_every_pass_is_recorded_on_its_own(model):
    with recording(model.iter_blocks) as passes:
        model(image(0))
        model(image(1))
    assert len(passes) == 2
    assert list(passes[0]) == [block for block, _ in model.iter_blocks()]
    assert not torch.equal(passes[0][0, 3], passes[1][0, 3])
    model(image(2))
    assert len(passes) == 2


@torch.no_grad()
def test_what_was_recorded_gives_the_same_again_and_runs_nothing(model):
    with recording(model.iter_blocks) as passes:
        before = [model(image(seed)) for seed in (0, 1)]
    ran = []
    handles = [block.attn.register_forward_hook(lambda *_: ran.append(1)) for _, block in model.iter_blocks()]
    with substituted(model.iter_blocks, lambda number, block: lambda _: passes[number][block]):
        after = [model(image(7)) for _ in (0, 1)]
    for handle in handles:
        handle.remove()
    assert not ran
    assert all(
        torch.equal(x, y) for ours, theirs in zip(before, after, strict=True) for x, y in zip(ours, theirs, strict=True)
    )


@torch.no_grad()
def test_none_lets_a_block_run_and_a_failure_leaves_all_as_it_was(model):
    before = model(image())
    with substituted(model.iter_blocks, lambda *_: None):
        assert torch.equal(model(image())[-1], before[-1])

    def broken(*_):
        raise RuntimeError('no')

    with pytest.raises(RuntimeError, match='no'), substituted(model.iter_blocks, broken):
        model(image())
    assert torch.equal(model(image())[-1], before[-1])
    assert not any('forward' in vars(block) for _, block in model.iter_blocks())


class Headed(nn.Module):
    """A model with a head that notes when it runs."""

    def __init__(self, backbone, **settings):
        super().__init__()
        self.backbone, self.judged, self.test_cfg = backbone, [], settings

    def test_step(self, batch):
        self.judged.append(self.backbone(batch.pop()))


@torch.no_grad()
def test_no_head_runs_where_only_blocks_are_wanted(model):
    headed, batch, third = Headed(model), [image()], dict(model.iter_blocks())[0, 2]
    with recording(model.iter_blocks) as passes:
        run_up_to(headed, third, batch)
    assert list(passes[0]) == [(0, 0), (0, 1), (0, 2)]
    assert headed.judged == []
    assert len(batch) == 1
    headed.test_step(batch)
    assert len(headed.judged) == 1


@torch.no_grad()
def test_crops_are_all_run(model):
    headed = Headed(model, mode='slide')
    run_up_to(headed, dict(model.iter_blocks())[0, 0], [image()])
    assert len(headed.judged) == 1
