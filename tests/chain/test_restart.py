"""What a chain may remove or replace: only what its own state says it wrote."""

from __future__ import annotations

import json

import pytest

from mmsls.chain.restart import forget
from mmsls.chain.state import ChainState

OURS = (
    'tuned/done.json',
    'tuned/metrics.json',
    'tuned/last_checkpoint',
    'tuned/epoch_3.pth',
    'tuned/best_coco_bbox_mAP_epoch_3.pth',
    'tuned/.epoch_4.0123abcd.pth',
    'tuned/20260101_000000/20260101_000000.log',
    'tuned/20260101_000000/vis_data/scalars.json',
    'tuned/tune.py',
    'depth_1-1/epoch_1.pth',
    'bridged/bridged.pth',
    'tuned/report.html',
    'tuned/maps.npz',
    'tuned/also_ncm.json',
    'tuned/origin.json',
    'tuned/curves.svg',
    'results.md',
    'pruning_index.json',
)


@pytest.fixture
def work_dir(tmp_path):
    """A folder as a chain leaves it."""
    folder = tmp_path / 'chain'
    for name in OURS:
        write(folder / name)
    state = ChainState(folder)
    state.save(
        configs='x',
        seed=1,
        wrote=['tuned', 'tuned/tune.py', 'depth_1-1', 'bridged', 'results.md', 'pruning_index.json'],
    )
    return folder


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if not path.is_dir())


def test_what_the_chain_wrote_goes(work_dir):
    assert forget(work_dir) == []
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize(
    'own',
    [
        'full/photo.jpg',
        'depth_maps/1.png',
        'tuned/notes.txt',
        'tuned/my_epoch_1.pth',
        'tuned/plot.py',
        'tuned/20260101_000000/vis_data/mine.csv',
        'task/mmsls.json',
        'score/epoch_1.pth',
    ],
)
def test_what_somebody_else_wrote_stays(work_dir, own):
    write(work_dir / own)
    left = forget(work_dir)
    assert files(work_dir) == sorted([own, 'chain.json'] if left else [own])
    assert left == ([work_dir / own] if own.startswith('tuned') else [])
    if left:
        ChainState(work_dir).check_unowned()  # the next chain may work beside it
        assert forget(work_dir) == left


def test_a_folder_that_no_chain_wrote_is_refused(work_dir):
    (work_dir / 'chain.json').unlink()
    before = files(work_dir)
    with pytest.raises(ValueError, match=r'holds no chain\.json.*nothing was removed'):
        forget(work_dir)
    assert files(work_dir) == before
    assert forget(work_dir / 'not there') == []


@pytest.mark.parametrize('name', ['../tuned', '/etc', 'a/b/c', '.', '..', '', 'tuned/..', 3])
def test_a_state_that_points_elsewhere_is_refused(work_dir, name):
    write(work_dir.parent / 'tuned/epoch_1.pth')
    (work_dir / 'chain.json').write_text(json.dumps({'configs': 'x', 'wrote': ['tuned', name]}))
    before = files(work_dir.parent)
    with pytest.raises(ValueError, match='wrote holds'):
        forget(work_dir)
    assert files(work_dir.parent) == before


@pytest.mark.parametrize('content', ['', '[]', '{"wrote": {}}', '{"configs": 1}', '{"configs": "x"}', '{"wrote'])
def test_a_damaged_state_removes_nothing(work_dir, content):
    (work_dir / 'chain.json').write_text(content)
    before = files(work_dir)
    with pytest.raises(ValueError, match=r'chain\.json'):
        forget(work_dir)
    assert files(work_dir) == before


@pytest.mark.parametrize('name', ['tuned', 'tuned/20260101_000000', 'tuned/epoch_3.pth'])
def test_links_are_not_followed(work_dir, tmp_path, name):
    (work_dir / name).rename(tmp_path / 'elsewhere')
    (work_dir / name).symlink_to(tmp_path / 'elsewhere')
    elsewhere = (tmp_path / 'elsewhere').stat(), [p for p in files(tmp_path) if 'elsewhere' in p]
    if name == 'tuned':
        with pytest.raises(ValueError, match='tuned became a link'):
            forget(work_dir)
        assert (work_dir / 'depth_1-1/epoch_1.pth').exists()
    else:
        assert forget(work_dir) == [work_dir / name]
    assert elsewhere[1] == [p for p in files(tmp_path) if 'elsewhere' in p]


def test_a_restart_that_was_broken_off_is_no_chain_to_go_on_with(work_dir):
    ChainState(work_dir).save(forgetting=True)
    with pytest.raises(ValueError, match='start with --restart again'):
        ChainState(work_dir).check_unowned()
    assert forget(work_dir) == []


@pytest.mark.parametrize('name', ['full', 'tuned', 'score', 'task', 'retrained'])
@pytest.mark.parametrize('with_state', [False, True])
def test_folders_of_others_are_refused_before_anything_is_written(tmp_path, name, with_state):
    write(tmp_path / name / 'photo.jpg')
    if with_state:
        ChainState(tmp_path).save(configs='x', wrote=[])
    before = files(tmp_path)
    with pytest.raises(ValueError, match=f'holds a {name} that this chain did not write'):
        ChainState(tmp_path).check_unowned()
    assert files(tmp_path) == before


def test_a_work_dir_that_is_a_file_is_refused(tmp_path):
    write(tmp_path / 'chain')
    with pytest.raises(ValueError, match='is no folder'):
        ChainState(tmp_path / 'chain')
