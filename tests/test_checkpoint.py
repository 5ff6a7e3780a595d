from __future__ import annotations

import copy
import io
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmsls.checkpoint import (
    META_KEY,
    base_keys,
    check_has_base,
    check_resume,
    describe,
    read_slim,
    restore_history,
    slim,
    strip_training_state,
)
from mmsls.files.plain import plain

CONVPASS = {'type': 'mmsls.Convpass', 'rank': 4}


class Net(nn.Module):
    """Something with parts that the base owns, parts that are trained, and a buffer of a trained part."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.head = nn.BatchNorm1d(3)


@pytest.fixture
def tuned(mmdet_host, base_file):
    def run(**arguments):
        return mmdet_host.pruned(**{'base_checkpoint': base_file, 'adapter': CONVPASS, **arguments})

    return run


def saved(model, **more):
    return {'meta': {}, 'state_dict': OrderedDict(copy.deepcopy(model.state_dict())), **more}


def test_what_the_base_owns(tuned, base_state):
    model = Net(backbone=tuned())
    found = base_keys(model)
    assert {f'backbone.{key}' for key in base_state} <= found
    assert not any('adapters' in key or '.norm3' in key or 'head' in key or 'extra_state' in key for key in found)
    left = set(model.state_dict()) - found
    assert {'head.running_mean', 'head.num_batches_tracked', 'backbone._extra_state', 'backbone.norm0.bias'} <= left


@pytest.mark.parametrize('arguments', [{}, {'adapter': None}, {'kept_depths': (2, 1, 0, 0)}])
def test_slim_keeps_exactly_what_is_trained(tuned, arguments):
    model = Net(backbone=tuned(**arguments))
    checkpoint = saved(
        model, ema_state_dict={'steps': torch.tensor(3)} | {f'module.{k}': v for k, v in model.state_dict().items()}
    )
    slim(model, checkpoint)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    buffers = {f'head.{name}' for name in ('running_mean', 'running_var', 'num_batches_tracked')}
    assert set(checkpoint['state_dict']) == trained | buffers | {'backbone._extra_state'}
    assert set(checkpoint['ema_state_dict']) == {'steps'} | {f'module.{key}' for key in checkpoint['state_dict']}


def test_two_backbones_of_which_one_stands_on_a_base(tuned, mmdet_host):
    model = Net(student=tuned(), teacher=mmdet_host.pruned())
    checkpoint = saved(model)
    slim(model, checkpoint)
    assert {key for key in model.state_dict() if key.startswith('teacher.')} <= set(checkpoint['state_dict'])
    assert not [key for key in checkpoint['state_dict'] if key.startswith('student.patch_embed')]
    assert set(checkpoint['meta'][META_KEY]['backbones']) == {'student'}


def test_backbone_alone_is_slimmed_too(tuned):
    model = tuned()
    checkpoint = saved(model)
    slim(model, checkpoint)
    assert set(checkpoint['state_dict']) == set(model.trained_keys())
    fresh = tuned()
    fresh.load_state_dict(checkpoint['state_dict'])
    assert all(torch.equal(value, fresh.state_dict()[key]) for key, value in model.state_dict().items())


def test_what_was_unfrozen_by_hand_is_kept(tuned):
    model = Net(backbone=tuned())
    model.backbone.patch_embed.requires_grad_(True)
    checkpoint = saved(model)
    slim(model, checkpoint)
    assert 'backbone.patch_embed.projection.weight' in checkpoint['state_dict']


def test_names_that_look_like_adapters_decide_nothing(tuned):
    """The choice is by structure and value: what the base does not hold is the task's, of any name, frozen or not."""
    model = Net(backbone=tuned(), stages=nn.Linear(2, 2))
    model.backbone.stages[0].adapter_norm0 = nn.Linear(2, 2).requires_grad_(False)
    model.backbone.adapters_of_mine = model.backbone.patch_embed
    checkpoint = saved(model)
    slim(model, checkpoint)
    assert {'stages.weight', 'backbone.stages.0.adapter_norm0.weight'} <= set(checkpoint['state_dict'])
    assert 'backbone.patch_embed.projection.weight' not in checkpoint['state_dict']


# Plain content.


def test_plain_content_loads_with_weights_only():
    content = {
        'eta': np.float64(1.5),
        'palette': [np.array([1, 2]), (np.int64(3),)],
        'names': {'b', 'a'},
        'tensor': torch.ones(2),
        'buffer': HistoryBuffer([1.0, 2.0], [1, 1], max_length=5),
        'none': None,
        'ordered': OrderedDict(a=np.bool_(True)),
    }
    file = io.BytesIO()
    torch.save(plain(content), file)
    file.seek(0)
    back = torch.load(file, weights_only=True)
    assert back.pop('tensor').sum() == 2
    assert back == {
        'eta': 1.5,
        'palette': [[1, 2], (3,)],
        'names': ['a', 'b'],
        'buffer': {'history': [1.0, 2.0], 'count': [1, 1], 'max_length': 5},
        'none': None,
        'ordered': {'a': True},
    }


def test_history_comes_back_with_its_statistics():
    buffer = HistoryBuffer([4.0, 2.0, 3.0], [1, 1, 2], max_length=7)
    hub = plain({'log_scalars': OrderedDict(loss=buffer), 'runtime_info': {}, 'resumed_keys': {}})
    restore_history(hub)
    back = hub['log_scalars']['loss']
    assert isinstance(back, HistoryBuffer)
    assert (back.min(), back.max(), back.current(), back.mean()) == (
        buffer.min(),
        buffer.max(),
        buffer.current(),
        buffer.mean(),
    )
    assert back.max_length == 7
    back.update(1.0, 1)
    assert back.current() == 1.0
    restore_history(hub)
    assert hub['log_scalars']['loss'] is back
    restore_history({})


# Reading.


def test_a_slim_checkpoint_is_read_whole(tuned, tmp_path):
    model = tuned()
    checkpoint = saved(model)
    slim(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'slim.pth')
    assert set(read_slim(tmp_path / 'slim.pth')['state_dict']) == set(checkpoint['state_dict'])


def test_what_is_no_slim_checkpoint_is_refused(tmp_path):
    path = tmp_path / 'file.pth'
    with pytest.raises(FileNotFoundError, match=r'checkpoint: no file at .*file\.pth'):
        read_slim(path)
    path.write_bytes(b'nothing')
    with pytest.raises(ValueError, match='no checkpoint of tensors'):
        read_slim(path)
    for content, match in (
        ({'state_dict': {}}, 'no checkpoint of tensors'),
        ({'meta': {}, 'state_dict': {}}, 'no slim checkpoint'),
        ({'meta': {'mmsls_merged': {}}, 'state_dict': {}}, 'merged before'),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=match):
            read_slim(path)


# What `meta` says.


def test_meta_has_the_form_of_earlier_releases(tuned):
    backbone = tuned(kept_depths=(2, 1, 2, 0))
    described = describe(Net(backbone=backbone))
    expected = {
        'base_checkpoint': backbone.base_checkpoint,
        'base_sha256': backbone.base_sha256,
        'adapter': {'type': 'Convpass', 'rank': 4, 'scale': 1.0, 'dropout': 0.1, 'xavier_init': False},
        'depths': [2, 2, 3, 2],
        'kept_depths': [2, 1, 2, 0],
    }
    assert described == {'version': 1, 'backbones': {'backbone': expected}}
    assert list(described['backbones']['backbone']) == list(expected)


# Resuming.


@pytest.mark.parametrize('kept', [(2, 2, 3, 1), (2, 1, 2, 0)])
def test_resume_needs_equal_depths(tuned, kept):
    stored = {'meta': {META_KEY: describe(Net(backbone=tuned()))}}
    check_resume(Net(backbone=tuned()), stored)
    with pytest.raises(ValueError, match=r'resume.*\(2, 2, 3, 2\).*load_from'):
        check_resume(Net(backbone=tuned(kept_depths=kept)), stored)


def test_a_checkpoint_that_says_nothing_is_left_to_the_backbone(tuned):
    check_resume(Net(backbone=tuned()), {'meta': {}})
    check_resume(Net(backbone=tuned()), {})


@pytest.mark.parametrize('odd', ['text', 3, [], {'backbones': 3}, {'backbones': {'backbone': []}}, {'version': 1}, {}])
def test_odd_metadata_is_refused_by_name_wherever_it_is_read(tuned, tmp_path, odd):
    model = Net(backbone=tuned())
    checkpoint = saved(model, meta={META_KEY: odd})
    for read in (check_resume, check_has_base):
        with pytest.raises(ValueError, match=r"meta\['mmsls'\]"):
            read(model, checkpoint)
    torch.save(checkpoint, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=r"meta\['mmsls'\]"):
        read_slim(tmp_path / 'odd.pth')


@pytest.mark.parametrize(
    ('kept', 'match'),
    [
        ([2, 2], r'resume: the checkpoint was saved with kept_depths=\(2, 2\)'),
        *((odd, r"meta\['mmsls'\], backbone\.kept_depths is") for odd in (3, 'all', {'a': 1}, [2, 2, 3, '2'])),
    ],
)
def test_odd_depths_are_refused(tuned, kept, match):
    model = Net(backbone=tuned())
    described = describe(model)
    described['backbones']['backbone']['kept_depths'] = kept
    with pytest.raises(ValueError, match=match):
        check_resume(model, {'meta': {META_KEY: described}})


@pytest.mark.parametrize(
    'content',
    [{'meta': 'mmsls', 'state_dict': {}}, {'meta': None, 'state_dict': {}}, {'meta': {}, 'state_dict': 3}, [1], 3],
)
def test_what_is_no_checkpoint_is_refused_by_every_reader(tmp_path, content):
    torch.save(content, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match='is no checkpoint'):
        read_slim(tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match='is no checkpoint'):
        strip_training_state(tmp_path / 'odd.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(
    'hub',
    [
        3,
        [],
        {'log_scalars': []},
        {'log_scalars': {'loss': {}}},
        {'log_scalars': {'loss': {'history': 3, 'count': [], 'max_length': 'x'}}},
    ],
)
def test_an_odd_history_is_refused(hub):
    with pytest.raises(ValueError, match='message_hub'):
        restore_history(hub)


def test_metadata_that_is_no_mapping_says_nothing_and_breaks_nothing(tuned):
    model = Net(backbone=tuned())
    for meta in (None, 'text', []):
        check_has_base(model, {'meta': meta})
        check_resume(model, {'meta': meta})


def test_ema_and_model_keep_the_same_changed_tensors(tuned):
    """EMAHook swaps key by key: what one holds, the other needs."""
    model = Net(backbone=tuned())
    ema = copy.deepcopy(model)
    ema.backbone.patch_embed.projection.bias.data.add_(1)
    model.backbone.stages[0].blocks[0].norm1.bias.data.add_(1)
    checkpoint = saved(model, ema_state_dict={f'module.{k}': v for k, v in ema.state_dict().items()})
    assert slim(model, checkpoint) == {'backbone': 2}
    for prefix, state in (('', checkpoint['state_dict']), ('module.', checkpoint['ema_state_dict'])):
        for key in ('patch_embed.projection.bias', 'stages.0.blocks.0.norm1.bias'):
            assert f'{prefix}backbone.{key}' in state
