from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from torch.serialization import get_safe_globals

from mmsls.backbones.base_files import read_base
from mmsls.backbones.tensor_files import StandIn, read_torch
from mmsls.checkpoint import META_KEY, read_slim

STATE = {'backbone.a': torch.arange(6.0).reshape(2, 3), 'neck.b': torch.ones(2)}


class Bomb:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def mmengine_checkpoint():
    buffer = HistoryBuffer()
    buffer.update(1.0)
    hub = {'log_scalars': {'train/loss': buffer}, 'runtime_info': {'eta': np.float64(2.0), 'where': np.arange(3)}}
    meta = {'epoch': 1, 'cfg': ConfigDict(a=1), 'path': Path('x'), 'rng': np.random.RandomState(0)}
    return {'state_dict': dict(STATE), 'meta': meta, 'message_hub': hub, 'optimizer': {'state': {}}}


def test_mmengines_own_checkpoints_are_read(tmp_path):
    torch.save(mmengine_checkpoint(), tmp_path / 'epoch_1.pth')
    with pytest.raises(Exception, match='weights_only'):
        torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    state, digest = read_base(str(tmp_path / 'epoch_1.pth'))
    assert list(state) == ['a']
    assert torch.equal(state['a'], STATE['backbone.a'])
    assert len(digest) == 64
    content = read_torch(tmp_path / 'epoch_1.pth', stand_ins=True)
    assert isinstance(content['message_hub']['log_scalars']['train/loss'], StandIn)
    assert not any(isinstance(item, type) and issubclass(item, StandIn) for item in get_safe_globals())


def test_a_checkpoint_of_a_whole_run_is_a_base(detector_cfg, build_runner, tmp_path):
    """As a user who trained a detector of their own has it: the stock backbone, no hook of ours."""
    cfg = detector_cfg(tmp_path, epochs=1)
    for key in ('base_checkpoint', 'adapter'):
        del cfg.model.backbone[key]
    cfg.model.backbone.type = 'SwinTransformer'
    cfg.custom_hooks = [{'type': 'EMAHook'}]
    runner = build_runner(cfg)
    runner.train()
    own = str(tmp_path / 'epoch_1.pth')
    averaged = runner.hooks[[type(hook).__name__ for hook in runner.hooks].index('EMAHook')].ema_model.module
    frozen = build_runner(detector_cfg(tmp_path / 'next', backbone={'base_checkpoint': own}, epochs=1)).model.backbone
    theirs = averaged.backbone.state_dict()
    stored = {key: value for key, value in frozen.state_dict().items() if key in theirs}
    assert len(stored) > 50
    assert all(torch.equal(value, theirs[key]) for key, value in stored.items() if not key.startswith('norm'))


@pytest.mark.parametrize(
    ('call', 'named'),
    [
        ((os.mkdir, 'TRAP'), 'mkdir'),
        ((eval, '__import__("os").mkdir("TRAP")'), 'eval'),
        ((exec, '__import__("os").mkdir("TRAP")'), 'exec'),
        ((__import__, 'subprocess'), '__import__'),
    ],
)
@pytest.mark.parametrize('place', ['message_hub', 'state_dict', 'meta'])
def test_what_would_run_is_refused_wherever_it_stands(tmp_path, call, named, place):
    trap = tmp_path / 'trap'
    content = mmengine_checkpoint()
    content[place]['x'] = Bomb(
        call[0], *(str(part).replace('TRAP', str(trap)) if isinstance(part, str) else part for part in call[1:])
    )
    torch.save(content, tmp_path / 'epoch_1.pth')
    with pytest.raises(ValueError, match=rf'epoch_1\.pth.*(weights_only|{named})'):
        read_base(str(tmp_path / 'epoch_1.pth'))
    assert not trap.exists()


def test_a_tensor_that_only_code_could_build_is_named(tmp_path):
    torch.save({'state_dict': {**STATE, 'backbone.c': HistoryBuffer()}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='c is no tensor'):
        read_base(str(tmp_path / 'x.pth'))


def test_safetensors_are_a_base(tmp_path):
    save_file(STATE, tmp_path / 'model.safetensors')
    assert torch.equal(read_base(str(tmp_path / 'model.safetensors'))[0]['a'], STATE['backbone.a'])
    for text in (struct.pack('<Q', 1 << 62), struct.pack('<Q', 10) + b'{' * 10, b'', b'x' * 100):
        (tmp_path / 'model.safetensors').write_bytes(text)
        with pytest.raises(ValueError, match='does not load as safetensors'):
            read_base(str(tmp_path / 'model.safetensors'))
    header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    (tmp_path / 'model.safetensors').write_bytes(struct.pack('<Q', len(header)) + header)
    with pytest.raises(ValueError, match='does not load as safetensors'):
        read_base(str(tmp_path / 'model.safetensors'))


def npz(path, header, body=b'', compress=zipfile.ZIP_STORED):
    text = str(header).encode().ljust(118, b' ') + b'\n'
    with zipfile.ZipFile(path, 'w', compress) as archive:
        archive.writestr('a.npy', b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + body)


@pytest.mark.parametrize('shape', [(10**12,), (10**6, 10**6), (2**63,), (2**200, 0, 5), (-1,), (-(10**9), -4)])
def test_an_npz_that_claims_more_than_it_has(tmp_path, shape):
    npz(tmp_path / 'a.npz', {'descr': '<f4', 'fortran_order': False, 'shape': shape}, b'\0' * 16)
    with pytest.raises(ValueError, match=r'a\.npz.*allow_pickle=False'):
        read_base(str(tmp_path / 'a.npz'))


def test_archives_that_unpack_to_far_more_are_refused(tmp_path):
    count = 50_000_000
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (count,)}
    npz(tmp_path / 'a.npz', header, b'\0' * 4 * count, zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'a.npz').stat().st_size < 1 << 20
    with pytest.raises(ValueError, match='its parts claim'):
        read_base(str(tmp_path / 'a.npz'))
    torch.save(STATE, tmp_path / 'x.pth')
    with zipfile.ZipFile(tmp_path / 'x.pth', 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('x/data/99', b'\0' * 10_000_000)
    with pytest.raises(ValueError, match='its parts claim'):
        read_base(str(tmp_path / 'x.pth'))


@pytest.mark.parametrize(
    'tensor',
    [
        torch.ones(1).expand(10**12),
        torch.ones(1).as_strided((10**9, 10**3), (0, 0)),
        torch.ones(3).to_sparse(),
        torch.ones(3, device='meta'),
    ],
)
def test_tensors_that_are_larger_than_their_bytes(tmp_path, tensor):
    torch.save({'state_dict': {'backbone.big': tensor}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='big'):
        read_base(str(tmp_path / 'x.pth'))
    torch.save({'state_dict': {'big': tensor}, 'meta': {META_KEY: {}}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='big'):
        read_slim(tmp_path / 'x.pth')


@pytest.mark.parametrize(
    'content',
    [
        {'meta': 5, 'state_dict': {}},
        {'meta': {META_KEY: 1}, 'state_dict': {}},
        {'meta': {META_KEY: {}}, 'state_dict': [1]},
        {'meta': {META_KEY: {}}, 'state_dict': {'a': 1}},
        [1],
        {'meta': {META_KEY: {}}},
    ],
)
def test_a_slim_checkpoint_of_another_form(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'checkpoint: .*x\.pth'):
        read_slim(tmp_path / 'x.pth')
