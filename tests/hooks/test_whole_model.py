"""MMEngine's FlexibleRunner: DDP is as good as Runner's, what shards a model is refused in one line."""

from __future__ import annotations

import pytest
import torch
from mmengine._strategy import DDPStrategy, FSDPStrategy, SingleDeviceStrategy

from mmsls.hooks.whole_model import shards
from mmsls.pruning_index import PruningIndex

HOOKS = [{'type': 'mmsls.SLSHook', 'n_jobs': 1}, {'type': 'mmsls.SlimCheckpointHook'}]


class OnesOwn(DDPStrategy):
    """Of a user."""


class Foreign:
    """Derives from none that is known."""


@pytest.fixture(scope='module')
def trained(detector_cfg, two_gloo_processes, tmp_path_factory):
    """The folder of four runs in two processes (see `ddp_worker.strategies`); the config slows the backbone."""
    folder = tmp_path_factory.mktemp('strategies')
    slow = {'custom_keys': {'backbone': {'lr_mult': 0.1}}}
    cfg = detector_cfg(folder, hooks=HOOKS, launcher='pytorch', env_cfg={'dist_cfg': {'backend': 'gloo'}})
    cfg.optim_wrapper.paramwise_cfg = slow
    cfg.model_wrapper_cfg = {'type': 'MMDistributedDataParallel', 'device_ids': None, 'broadcast_buffers': False}
    # FlexibleRunner (mmengine 0.10) counts an epoch too many in a checkpoint that is saved again as the best.
    cfg.default_hooks.checkpoint.pop('save_best')
    cfg.dump(folder / 'config.py')
    two_gloo_processes('strategies', str(folder / 'config.py'), str(folder))
    return folder


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_ddp_strategy_trains_what_runner_trains(trained):
    plain, flexible = (weights(trained / name / 'epoch_2.pth') for name in ('plain', 'ddp'))
    assert plain.keys() == flexible.keys()
    assert all(torch.equal(plain[key], flexible[key]) for key in plain)
    assert not any('attn.w_msa.qkv.weight' in key for key in flexible)  # slim: without the base
    assert PruningIndex.load(trained / 'ddp/pruning_index.json').scores


def test_ddp_strategy_resumes_with_the_adapters_own_rates(trained):
    assert not [path.read_text() for path in trained.glob('resumed*.txt')]
    groups = [
        torch.load(trained / name / 'epoch_2.pth', weights_only=True)['optimizer']['param_groups']
        for name in ('ddp', 'resumed')
    ]
    assert [group['lr'] for group in groups[0]] == [group['lr'] for group in groups[1]]
    assert {group['initial_lr'] for group in groups[1]} == {0.001}  # not the tenth that the config means for a backbone


def test_fsdp_strategy_is_refused_before_it_trains(trained):
    for rank in '01':
        said = (trained / f'fsdp{rank}.txt').read_text()
        assert said.startswith('FSDPStrategy spreads a model over the processes'), said
    assert not list((trained / 'fsdp').glob('*.pth'))


@pytest.mark.parametrize(
    ('strategy', 'expected'),
    [(SingleDeviceStrategy, False), (OnesOwn, False), (FSDPStrategy, True), (Foreign, True)],
)
def test_what_shards(strategy, expected):
    assert shards(strategy) is expected
