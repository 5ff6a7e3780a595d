"""Weights by their name on a hub: from its cache, or one line."""

from __future__ import annotations

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from mmsls.backbones.base_files import read_base

NAME = 'vit_tiny_patch16_224.augreg_in21k'


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    return tmp_path


@pytest.mark.parametrize('location', [f'timm:{NAME}', f'hf-hub:timm/{NAME}'])
def test_weights_of_the_hub_are_read_from_its_cache(cache, location):
    with pytest.raises(FileNotFoundError, match=rf'base_checkpoint: .*{NAME}.* cannot be fetched .* give its path'):
        read_base(location)
    folder = cache / f'models--timm--{NAME}'
    (folder / 'snapshots/abc').mkdir(parents=True)
    (folder / 'refs').mkdir()
    (folder / 'refs/main').write_text('abc')
    save_file({'norm.weight': torch.ones(3)}, folder / 'snapshots/abc/model.safetensors')
    state, digest = read_base(location)
    assert torch.equal(state['norm.weight'], torch.ones(3))
    assert len(digest) == 64


def test_a_name_that_timm_lacks_is_refused_with_the_nearest(cache):
    with pytest.raises(ValueError, match=r"no weights 'timm:vit_tiny_patch16_224\.augreg_in22k'; near it are .*in21k"):
        read_base('timm:vit_tiny_patch16_224.augreg_in22k')
