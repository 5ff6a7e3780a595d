"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

SHARED = Path(__file__).resolve().parents[2] / 'shared'
TINY_SWIN = {
    'embed_dims': 8,
    'depths': (2, 2, 3, 2),
    'num_heads': (1, 2, 2, 4),
    'window_size': 4,
    'drop_path_rate': 0.3,
    'drop_rate': 0.1,
}


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f'needs the data folder beside the repository ({SHARED.name}/), which is absent')
    return SHARED


@dataclass(frozen=True)
class Host:
    """One toolbox: its own Swin and ours."""

    name: str
    stock_class: type[nn.Module]
    pruned_class: type[nn.Module]

    def stock(self, **arguments: Any) -> nn.Module:
        """Build the host's own backbone, tiny."""
        return self.stock_class(**{**TINY_SWIN, **arguments})

    def pruned(self, **arguments: Any) -> nn.Module:
        """Build ours, tiny."""
        return self.pruned_class(**{**TINY_SWIN, **arguments})


def load_host(name: str) -> Host:
    if name == 'mmdet':
        from mmdet.models.backbones import SwinTransformer

        from mmsls.integrations.mmdet import PrunedSwinTransformer
    else:
        from mmseg.models.backbones import SwinTransformer

        from mmsls.integrations.mmseg import PrunedSwinTransformer
    return Host(name, SwinTransformer, PrunedSwinTransformer)


@pytest.fixture(scope='session', params=['mmdet', 'mmseg'])
def host(request: pytest.FixtureRequest) -> Host:
    """Each host in turn."""
    return load_host(request.param)


@pytest.fixture(scope='session')
def mmdet_host() -> Host:
    """MMDetection alone, where the host makes no difference."""
    return load_host('mmdet')


@pytest.fixture(scope='session')
def randomise() -> Callable[..., nn.Module]:
    """A function that sets parameters to seeded random values: nothing is zero, one, or equal to another by chance."""

    def run(module: nn.Module, seed: int = 0, only_trainable: bool = False) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad or not only_trainable:
                    # Attention hardly feels small position biases.
                    noise = torch.randn(parameter.shape, generator=generator) * (1.0 if 'bias_table' in name else 0.1)
                    parameter.copy_(noise + 1 if 'norm' in name and name.endswith('weight') else noise)
        return module

    return run


@pytest.fixture(scope='session')
def base_file(tmp_path_factory: pytest.TempPathFactory, mmdet_host: Host, randomise: Callable[..., nn.Module]) -> str:
    """A base checkpoint for TINY_SWIN in OpenMMLab's style, without output norms as ImageNet bases are."""
    model = randomise(mmdet_host.stock())
    state = {key: value for key, value in model.state_dict().items() if not key.startswith('norm')}
    path = tmp_path_factory.mktemp('base') / 'tiny_swin.pth'
    torch.save({'state_dict': state, 'meta': {}}, path)
    return str(path)


@pytest.fixture(scope='session')
def base_state(base_file: str) -> dict[str, torch.Tensor]:
    """The tensors of the base checkpoint."""
    return torch.load(base_file, weights_only=True)['state_dict']
