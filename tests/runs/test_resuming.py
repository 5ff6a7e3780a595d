"""Checkpoints: whole, found again, and the one that counts."""

from __future__ import annotations

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend

from mmsls.runs.resuming import check_keeps_checkpoints, last_checkpoint, whole_checkpoints, with_resume_hooks


def save(path, age=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'a': torch.ones(3)}, path)
    os.utime(path, ns=(10**18 - age, 10**18 - age))
    return str(path)


def test_mmengine_writes_whole_files_meanwhile(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'old')

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    with whole_checkpoints():
        monkeypatch.setattr(os, 'fsync', full)
        with pytest.raises(OSError, match='No space'):
            LocalBackend().put(b'new', path)
        assert path.read_bytes() == b'old'
        monkeypatch.undo()
        LocalBackend().put(b'new', str(path))
    assert path.read_bytes() == b'new'
    assert LocalBackend.put.__module__.startswith('mmengine')


def test_the_last_whole_checkpoint_is_found(tmp_path):
    first, second = save(tmp_path / 'epoch_1.pth', age=10), save(tmp_path / 'epoch_2.pth')
    save(tmp_path / 'best_epoch_9.pth')
    pointer = tmp_path / 'last_checkpoint'
    assert last_checkpoint(tmp_path / 'not there') is None
    pointer.write_text(first)
    assert last_checkpoint(tmp_path) == first
    for content in ('', str(tmp_path / 'epoch_3.pth')):  # a kill while it was written; a file that was never written
        pointer.write_text(content)
        assert last_checkpoint(tmp_path) == second
    content = (tmp_path / 'epoch_2.pth').read_bytes()
    pointer.write_text(second)
    for damaged in (content[:-1], content[: len(content) // 2], b''):
        (tmp_path / 'epoch_2.pth').write_bytes(damaged)
        assert last_checkpoint(tmp_path) == first
    (tmp_path / 'epoch_1.pth').unlink()
    assert last_checkpoint(tmp_path) is None


def test_checkpoints_elsewhere_are_found(tmp_path):
    path = save(tmp_path / 'elsewhere/tuned/iter_5.pth')
    (tmp_path / 'tuned').mkdir()
    (tmp_path / 'tuned/last_checkpoint').write_text(path)
    assert last_checkpoint(tmp_path / 'tuned') == path
    (tmp_path / 'tuned/last_checkpoint').write_text('s3://bucket/iter_5.pth')
    assert last_checkpoint(tmp_path / 'tuned') == 's3://bucket/iter_5.pth'


EPOCHS = {'train_cfg': {'max_epochs': 3}, 'val_dataloader': {}}


@pytest.mark.parametrize(
    ('hook', 'rest', 'keeps'),
    [
        ({'interval': 10}, {}, True),
        ({'interval': 10, 'save_last': False}, {}, False),
        ({'interval': 3, 'save_last': False}, {}, True),
        ({'interval': 10, 'save_last': False, 'save_best': 'auto'}, {}, True),
        ({'interval': 10, 'save_last': False, 'save_best': 'auto'}, {'val_dataloader': None}, False),
        ({'save_last': False, 'by_epoch': False, 'interval': 2}, {'train_cfg': {'max_iters': 4}}, True),
        ({'save_last': False, 'by_epoch': False, 'interval': 5}, {'train_cfg': {'max_iters': 4}}, False),
        (None, {}, False),
        (None, {'custom_hooks': [{'type': 'mmengine.hooks.CheckpointHook', 'interval': 1}]}, True),
    ],
)
def test_a_training_that_keeps_nothing_is_refused(hook, rest, keeps):
    cfg = Config({**EPOCHS, 'default_hooks': {'checkpoint': hook and {'type': 'CheckpointHook', **hook}}, **rest})
    if keeps:
        check_keeps_checkpoints(cfg)
    else:
        with pytest.raises(ValueError, match=r'default_hooks\.checkpoint keeps no checkpoint'):
            check_keeps_checkpoints(cfg)


def test_hooks_of_resuming_are_added_once():
    given = Config({'custom_hooks': [{'type': 'mmsls.ReseedHook'}]})
    once = with_resume_hooks(given)
    assert [hook.type for hook in once.custom_hooks] == ['mmsls.ReseedHook', 'mmsls.ResumeHook']
    assert with_resume_hooks(once).custom_hooks == once.custom_hooks
    assert len(given.custom_hooks) == 1
    assert len(with_resume_hooks(Config({})).custom_hooks) == 2
