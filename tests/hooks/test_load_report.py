"""Heads and necks of a slim checkpoint: named where training starts from it, refused where it is tested or resumed."""

from __future__ import annotations

import pytest
import torch

SLIM = {'type': 'mmsls.SlimCheckpointHook'}
HEAD = 'bbox_head.retina_cls.weight'


@pytest.fixture(scope='module')
def tuned(detector_cfg, build_runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp('tuned')
    cfg = detector_cfg(folder, hooks=[SLIM], epochs=1)
    build_runner(cfg).train()
    return cfg, torch.load(folder / 'epoch_1.pth', weights_only=True)


def without(state):
    return {key: value for key, value in state.items() if key != HEAD}


CHANGES = {
    'missing': (without, f'1 tensors outside the backbone are missing and 0 are misshapen.*{HEAD}'),
    'misshapen': (lambda state: {**state, HEAD: torch.zeros(4, 8, 3, 3)}, f'0 .* missing and 1 are misshapen.*{HEAD}'),
}


@pytest.fixture
def start(tuned, build_runner, tmp_path):
    def run(change, **more):
        cfg, checkpoint = tuned
        path = tmp_path / 'changed.pth'
        torch.save({**checkpoint, 'state_dict': change(checkpoint['state_dict'])}, path)
        return build_runner({**cfg, 'load_from': str(path), 'work_dir': str(tmp_path / 'run'), **more})

    return run


def logs(tmp_path):
    return ''.join(path.read_text() for path in tmp_path.rglob('*.log'))


@pytest.mark.parametrize('change', CHANGES)
def test_test_and_resume_refuse_a_head_that_would_be_random(start, change):
    make, match = CHANGES[change]
    with pytest.raises(ValueError, match=match):
        start(make).test()
    resumed = start(make, resume=True)
    with pytest.raises(ValueError, match=match):
        resumed.train()
    assert resumed.iter == 0


@pytest.mark.parametrize('change', CHANGES)
def test_a_training_that_starts_from_it_is_told(start, change, tmp_path):
    start(CHANGES[change][0]).train()
    assert '1 tensors outside the backbone' in logs(tmp_path)
    assert HEAD in logs(tmp_path)


def test_what_is_left_over_is_said(start, tmp_path):
    start(lambda state: {**state, 'auxiliary_head.weight': torch.zeros(1)}).test()
    assert '1 tensors outside the backbone of the checkpoint have no place in the model' in logs(tmp_path)


@pytest.mark.parametrize('odd', ['text', [], {'backbones': []}, {'backbones': {'backbone': 3}}, {'version': 1}])
def test_odd_metadata_is_refused_by_name(start, tuned, tmp_path, odd, build_runner):
    cfg, checkpoint = tuned
    path = tmp_path / 'odd.pth'
    torch.save({**checkpoint, 'meta': {**checkpoint['meta'], 'mmsls': odd}}, path)
    with pytest.raises(ValueError, match=r"meta\['mmsls'\]"):
        build_runner({**cfg, 'load_from': str(path), 'work_dir': str(tmp_path / 'run')}).test()


def test_objects_in_the_metadata_cost_no_checkpoint(detector_cfg, build_runner, tmp_path):
    from mmengine.hooks import Hook

    class Noting(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            checkpoint['meta']['runner'] = Noting
            checkpoint['mine'] = [object()]
            checkpoint['state_dict']['extra'] = {'deep': {1, 'a'}}

    runner = build_runner(detector_cfg(tmp_path, hooks=[SLIM], epochs=1))
    runner.register_hook(Noting(), 'NORMAL')
    runner.train()
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert 'mine' not in checkpoint
    assert checkpoint['state_dict']['extra'] == {'deep': [1, 'a']}
    assert "checkpoint['meta']['runner'] is left out" in logs(tmp_path)
    assert "checkpoint['mine'] is left out" in logs(tmp_path)
