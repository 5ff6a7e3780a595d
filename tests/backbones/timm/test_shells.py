"""Models without storage: the shapes of a model that is built for real."""

from __future__ import annotations

import timm
import torch

from mmsls.backbones.timm.shells import without_storage


def test_a_shell_has_the_shapes_and_no_values():
    args = {'embed_dim': 16, 'depth': 2, 'num_heads': 2, 'num_classes': 0}
    with without_storage():
        shell = timm.create_model('vit_tiny_patch16_224', **args)
    real = timm.create_model('vit_tiny_patch16_224', **args)
    assert {key: value.shape for key, value in shell.state_dict().items()} == {
        key: value.shape for key, value in real.state_dict().items()
    }
    assert all(value.is_meta for value in shell.state_dict().values())
    assert torch.zeros(2).add_(1).sum() == 2  # outside, tensors are filled as ever
