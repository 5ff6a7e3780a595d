"""What a checkpoint names, told by torch and, where it is too old for that, by reading the pickle."""

from __future__ import annotations

import zipfile
from collections import OrderedDict

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmsls.backbones.pickled_names import named, unknown_names


def mmengine_checkpoint():
    return {'hub': {'loss': HistoryBuffer()}, 'meta': {'cfg': ConfigDict(a=1)}, 'state_dict': {'a': torch.ones(1)}}


def test_all_that_a_checkpoint_of_mmengine_names(tmp_path):
    torch.save({**mmengine_checkpoint(), 'call': eval, 'set': {1}, 'sorted': OrderedDict(a=1)}, tmp_path / 'a.pth')
    found = set(named(tmp_path / 'a.pth'))
    assert {'mmengine.logging.history_buffer.HistoryBuffer', 'mmengine.config.config.ConfigDict'} <= found
    assert {'builtins.eval', 'builtins.set', 'collections.OrderedDict', 'torch._utils._rebuild_tensor_v2'} <= found


@pytest.mark.skipif(
    not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'), reason='torch < 2.6 does not tell by itself'
)
def test_torch_names_the_same(tmp_path):
    torch.save(mmengine_checkpoint(), tmp_path / 'a.pth')
    theirs = set(torch.serialization.get_unsafe_globals_in_checkpoint(str(tmp_path / 'a.pth')))
    assert theirs
    assert theirs <= set(named(tmp_path / 'a.pth'))


def test_tensors_alone_name_nothing_else(tmp_path):
    torch.save({'a': torch.ones(1)}, tmp_path / 'a.pth')
    assert all(name.startswith(('torch.', 'collections.')) for name in unknown_names(tmp_path / 'a.pth'))


def test_files_of_another_form_name_nothing(tmp_path):
    torch.save(mmengine_checkpoint(), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / 'broken.pth', 'w') as archive:
        archive.writestr('x/data.pkl', b'\x80\x02cposix')
    for name in ('old.pth', 'broken.pth', 'absent.pth'):
        assert unknown_names(tmp_path / name) == []
