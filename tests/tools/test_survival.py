"""The chain as a process of its own that is killed, runs out of disk, or loses its folder."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from warm_process import Running

ROOT = Path(__file__).resolve().parents[2]
HOOKS = [
    {'type': 'mmsls.SLSHook', 'max_samples': 60, 'n_jobs': 1, 'perplexity': 5.0},
    {'type': 'mmsls.SlimCheckpointHook'},
]
COLOURS = {'red': (40, 40, 220), 'green': (40, 220, 40), 'blue': (220, 40, 40)}


def paint(folder: Path, images: dict[str, int], seed: int = 0) -> Path:
    """Boxes in the colour of their class, which any backbone tells apart: there is something to prune."""
    generator = np.random.default_rng(seed)
    (folder / 'annotations').mkdir(parents=True)
    categories = [{'id': number, 'name': name} for number, name in enumerate(COLOURS)]
    for split, count in images.items():
        (folder / split).mkdir()
        content = {'images': [], 'annotations': [], 'categories': categories}
        for image in range(count):
            picture = generator.integers(100, 140, (96, 96, 3), np.uint8)
            for number, colour in enumerate(COLOURS.values()):
                left, top = 32 * number + int(generator.integers(4)), int(generator.integers(60))
                picture[top : top + 30, left : left + 26] = np.clip(colour + generator.normal(0, 12, 3), 0, 255)
                box = {'bbox': [left, top, 26, 30], 'area': 780, 'iscrowd': 0}
                place = {'id': len(content['annotations']), 'image_id': image, 'category_id': number}
                content['annotations'].append({**place, **box})
            cv2.imwrite(str(folder / split / f'{image}.png'), picture)
            content['images'].append({'id': image, 'file_name': f'{image}.png', 'height': 96, 'width': 96})
        (folder / f'annotations/{split}.json').write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def config(tmp_path_factory, detector_cfg):
    """A chain of seconds: random flips and colours, dropout, a best checkpoint, something to prune."""
    folder = tmp_path_factory.mktemp('survival')
    data = paint(folder / 'data', {'train': 6, 'val': 8})
    cfg = detector_cfg(folder / 'run', hooks=HOOKS, epochs=2)
    cfg.pop('work_dir')
    cfg.randomness = {}  # the chain draws a seed once
    cfg.model.bbox_head.num_classes = 3
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root, dataset.metainfo = str(data), {'classes': tuple(COLOURS)}
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator'].ann_file = str(data / 'annotations/val.json')
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[-1:-1] = [{'type': 'RandomFlip', 'prob': 0.5}, {'type': 'PhotoMetricDistortion'}]
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def start(config: Path, work_dir: Path, *arguments: str) -> Running:
    return Running([str(ROOT / 'tools/run_sls.py'), str(config), '--work-dir', str(work_dir), *arguments])


def finish(config: Path, work_dir: Path) -> None:
    done = start(config, work_dir).end()
    assert done.returncode == 0, done.stderr[-3000:]


def start_until(config: Path, work_dir: Path, name: str) -> Running:
    """Start a chain, and return when it has written a file and is still at work."""
    process = start(config, work_dir)
    while not (work_dir / name).exists():
        assert process.code is None, process.end().stderr[-3000:]
        time.sleep(0.01)
    return process


def refused(config: Path, work_dir: Path, *arguments: str) -> str:
    """Return the one line that a run ends with; `broken off` goes to the output, not here."""
    done = start(config, work_dir, *arguments).end()
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr[-3000:]
    assert 'Logging error' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith('error: ')
    return done.stderr.splitlines()[-1]


def outcome(work_dir: Path) -> tuple[bytes, list, dict]:
    """What a chain decided, reached, and stores: the index bit for bit, every row's metrics, the task's weights."""
    rows = json.loads((work_dir / 'results.json').read_text())
    manifest = json.loads((work_dir / 'task/mmsls.json').read_text())
    index = (work_dir / 'pruning_index.json').read_bytes()
    return index, [(row['name'], row['metrics']) for row in rows], manifest['files']


def with_seed_of(work_dir: Path, other: Path) -> Path:
    """Give a new chain the seed that another one drew."""
    seed = json.loads((other / 'chain.json').read_text())['seed']
    work_dir.mkdir(parents=True)
    (work_dir / 'chain.json').write_text(json.dumps({'seed': seed, 'wrote': []}))
    return work_dir


@pytest.fixture(scope='module')
def unbroken(config, tmp_path_factory):
    """A run that nothing happened to, and how long it took."""
    work_dir = tmp_path_factory.mktemp('unbroken') / 'chain'
    began = time.monotonic()
    finish(config, work_dir)
    assert [name for name, _ in outcome(work_dir)[1]] == ['full', 'tuned', 'pruned', 'retrained']
    return work_dir, time.monotonic() - began


def kill_at(config: Path, work_dir: Path, seconds: float) -> bool:
    """Kill a run after some seconds; whether it was not over by then."""
    process, until = start(config, work_dir), time.monotonic() + seconds
    while process.code is None and time.monotonic() < until:
        time.sleep(0.01)
    process.signal(signal.SIGKILL)
    return process.end().returncode == -signal.SIGKILL


def killed_chains(config: Path, unbroken: tuple[Path, float], folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Run chains that are killed at random moments until so many kills fell; return kills and chains.

    All of them ended as the unbroken one.
    """
    reference, length = outcome(unbroken[0]), unbroken[1]
    chance, killed, chains = random.Random(seed), 0, 0
    while killed < kills:
        work_dir = with_seed_of(folder / str(chains), unbroken[0])
        while killed < kills and kill_at(config, work_dir, chance.uniform(0.1, 1.0) * length):
            killed += 1
        finish(config, work_dir)
        assert outcome(work_dir) == reference, f'chain {chains} of seed {seed} ended otherwise'
        chains += 1
    return killed, chains


def test_an_interrupted_and_killed_chain_ends_as_one_that_was_not(config, unbroken, tmp_path):
    work_dir = with_seed_of(tmp_path / 'chain', unbroken[0])
    process = start_until(config, work_dir, 'tuned/epoch_1.pth')
    process.signal(signal.SIGINT)
    done = process.end()
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == 'interrupted; the same command goes on where it stopped'
    assert 'Traceback' not in done.stderr
    for name in ('tuned/epoch_2.pth', 'retrained/epoch_1.pth'):
        process = start_until(config, work_dir, name)
        process.signal(signal.SIGKILL)
        assert process.end().returncode == -signal.SIGKILL
    finish(config, work_dir)
    assert outcome(work_dir) == outcome(unbroken[0])


@pytest.mark.long
def test_fifty_kills(config, unbroken, tmp_path):
    killed, chains = killed_chains(config, unbroken, tmp_path, 60, seed=1)
    print(f'{killed} kills of {chains} chains: all went on and ended with the same index, metrics and weights')
    assert killed >= 50


def mounted(folder: Path, options: str) -> bool:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


@contextmanager
def small_disk(folder: Path, options: str):
    """A disk of its own; a test that may not mount one is skipped."""
    if not mounted(folder, options):
        pytest.skip('needs the right to mount a file system')
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.parametrize('until', ['tuned/done.json', pytest.param('the end', marks=pytest.mark.long)])
def test_a_full_disk_is_one_line_and_room_lets_the_run_go_on(config, unbroken, tmp_path, until):
    with small_disk(tmp_path / 'disk', 'size=400k') as disk:
        work_dir = with_seed_of(disk / 'chain', unbroken[0])
        line = refused(config, work_dir)
        assert str(work_dir) in line
        assert 'No space left on device; make room' in line
        subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
        if until == 'the end':
            finish(config, work_dir)
            assert outcome(work_dir) == outcome(unbroken[0])
        else:
            process = start_until(config, work_dir, until)
            process.signal(signal.SIGKILL)
            process.end()


def test_a_read_only_folder_is_one_line(config, tmp_path):
    with small_disk(tmp_path / 'disk', 'size=1m,ro') as disk:
        line = refused(config, disk / 'chain')
        assert str(disk) in line
        assert 'Read-only file system' in line


def test_a_work_dir_that_is_a_file_is_one_line(config, tmp_path):
    (tmp_path / 'chain').write_text('mine')
    assert 'is no folder' in refused(config, tmp_path / 'chain')
    assert 'chain' in refused(config, tmp_path / 'chain/below')
    assert (tmp_path / 'chain').read_text() == 'mine'


def test_a_folder_that_vanishes_is_one_line(config, unbroken, tmp_path):
    work_dir = tmp_path / 'chain'
    process = start_until(config, work_dir, 'tuned/epoch_1.pth')
    work_dir.rename(tmp_path / 'elsewhere')
    done = process.end()
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith('error: ')
    assert str(work_dir) in done.stderr.splitlines()[-1]


def test_somebodys_folder_is_refused_before_anything_is_written(config, tmp_path):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/photo.jpg').write_text('mine')
    assert 'holds a full that this chain did not write' in refused(config, tmp_path)
    assert 'no chain wrote what lies there' in refused(config, tmp_path, '--restart')
    assert [path.name for path in tmp_path.rglob('*')] == ['full', 'photo.jpg']
