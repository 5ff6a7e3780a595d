from __future__ import annotations

import json
import shutil

import pytest

from mmsls.chain.task import check_replaceable, replace_task
from mmsls.deploy.task_folder import CARD, MANIFEST, pack, read_task


@pytest.fixture(scope='module')
def packed(tmp_path_factory, detector_cfg, build_runner):
    """A real task folder."""
    folder = tmp_path_factory.mktemp('packed')
    cfg = detector_cfg(folder / 'run', hooks=[{'type': 'mmsls.SlimCheckpointHook'}], epochs=1)
    runner = build_runner(cfg)
    runner.train()
    pack(cfg, folder / 'run/epoch_1.pth', folder / 'task', name='x')
    return folder / 'task'


@pytest.fixture
def task(packed, tmp_path):
    shutil.copytree(packed, tmp_path / 'task')
    return tmp_path / 'task'


def another(packed):
    """A function that writes a task of another name."""

    def write(folder):
        shutil.copytree(packed, folder)
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps({**manifest, 'name': 'y'}))

    return write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_earlier_task_is_replaced_and_nothing_is_left_beside_it(packed, task):
    (task.parent / '.task.0123abcd').mkdir()  # of a kill
    replace_task(task, another(packed))
    assert read_task(task).name == 'y'
    assert names(task.parent) == ['task']


def test_the_same_task_is_left_alone(packed, task):
    (task / CARD).write_text('my card')
    replace_task(task, lambda folder: shutil.copytree(packed, folder))
    assert (task / CARD).read_text() == 'my card'


def test_an_edited_card_is_kept(packed, task):
    (task / CARD).write_text('my card')
    replace_task(task, another(packed))
    assert names(task.parent) == ['task', 'task_1']
    assert (task.with_name('task_1') / CARD).read_text() == 'my card'


def test_a_task_that_cannot_be_written_costs_none(task):
    def fail(folder):
        folder.mkdir()
        raise ValueError('not slim')

    with pytest.raises(ValueError, match='not slim'):
        replace_task(task, fail)
    assert names(task.parent) == ['task']
    read_task(task)


@pytest.mark.parametrize('change', ['notes', 'weights', 'manifest'])
def test_what_is_no_task_of_ours_is_refused(packed, task, change):
    if change == 'notes':
        (task / 'notes.txt').write_text('mine')
    elif change == 'weights':
        (task / 'adapters.safetensors').write_text('mine')
    else:
        (task / MANIFEST).unlink()
    before = {path.name: path.read_bytes() for path in task.iterdir()}
    for refused in (lambda: check_replaceable(task), lambda: replace_task(task, another(packed))):
        with pytest.raises(ValueError, match=r'move (it|that) away'):
            refused()
    assert {path.name: path.read_bytes() for path in task.iterdir()} == before
