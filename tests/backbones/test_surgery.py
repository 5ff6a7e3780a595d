from __future__ import annotations

import pytest
from torch import nn

from mmsls.backbones.surgery import set_mode


class NormEval(nn.Module):
    """A host that keeps its batch norms in eval mode, as `norm_eval=True` asks."""

    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(4))
        self.norm0 = nn.BatchNorm2d(4)
        self.adapter = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout())

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def test_norms_that_the_host_keeps_in_eval_mode_stay_so_in_trained_parts():
    model = NormEval()
    for mode in (True, False, True):
        model.train(mode)
        set_mode(model, [model.norm0, model.adapter], mode)
        assert [name for name, module in model.named_modules() if module.training] == (
            ['', 'adapter', 'adapter.1'] if mode else []
        )


@pytest.mark.parametrize('norm_eval', [False, True])
def test_norm_eval_of_mmpretrains_swin_holds_for_trained_output_norms(columns, randomise, tmp_path, norm_eval):
    import torch

    host = columns['mmpretrain-swin']()
    torch.save(host.base_of(randomise(host.stock())), tmp_path / 'base.pth')
    model = host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), norm_eval=norm_eval)
    model.norm1 = nn.BatchNorm1d(16)
    model.train()
    assert model.norm1.training is not norm_eval
    assert model.norm0.training


def test_what_a_subclass_adds_and_trains_has_the_mode_of_the_model(columns, randomise, tmp_path):
    """Its batch norms collect statistics, and its dropout drops; the frozen base around it stays in eval mode."""
    import torch

    host = columns['mmdet-swin']()
    torch.save(host.base_of(randomise(host.stock())), tmp_path / 'base.pth')
    model = host.pruned(base_checkpoint=str(tmp_path / 'base.pth'))
    model.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    for mode in (True, False, True):
        model.train(mode)
        assert [module.training for module in model.neck.modules()] == [mode] * 4
        assert not any(module.training for module in model.stages.modules())
