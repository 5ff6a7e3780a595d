"""The small real runs as task folders: built by one function, built once, opened on one base."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))  # scripts, each beside what it imports

from model_zoo import ZOO, build, table  # noqa: E402

from mmsls import runs  # noqa: E402
from mmsls.deploy.task_folder import read_task  # noqa: E402

HOOKS = [{'type': 'mmsls.SLSHook', 'n_jobs': 1}, {'type': 'mmsls.SlimCheckpointHook'}]


class Stages:
    """Remembers which stages ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def stage(self, name: str, reused: bool) -> Stages:
        self.ran += [] if reused or name == 'measure' else [name]
        return self

    def prepare(self, runner: object) -> None:
        """See no runner."""

    def on_batch(self, done: int, total: int) -> None:
        """Show nothing."""


@pytest.fixture(scope='module')
def tune(tmp_path_factory, detector_cfg):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    visualizer = {'type': 'DetLocalVisualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': 'visualizer'}
    return detector_cfg(tmp_path_factory.mktemp('zoo') / 'run', hooks=HOOKS, epochs=1, visualizer=visualizer)


def test_a_run_leaves_a_task_folder_that_opens_and_is_not_run_again(tune, tmp_path):
    folder, first, again = tmp_path / 'cells', Stages(), Stages()
    row = build(tune, folder, first)
    assert read_task(folder).foundation.kept_depths == row.depths
    lines = table([folder], [row]).splitlines()
    assert lines[2].startswith(f'| cells | mmdet | {"-".join(map(str, row.depths))} | coco/bbox_mAP')
    assert first.ran
    build(tune, folder, again)
    assert again.ran == []


def test_what_is_no_task_folder_is_not_replaced(tune, tmp_path):
    build(tune, tmp_path / 'task', Stages())
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/file.txt').write_text('mine')
    with pytest.raises(FileNotFoundError):
        build(tune, tmp_path / 'mine', Stages())
    assert (tmp_path / 'mine/file.txt').read_text() == 'mine'


def test_the_zoo_stands_on_one_base(shared, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfgs = [runs.load_config(path) for path in ZOO.values()]
    assert {cfg.default_scope for cfg in cfgs} == {'mmdet', 'mmseg', 'mmpretrain'}
    assert len({cfg.model.backbone.base_checkpoint for cfg in cfgs}) == 1
