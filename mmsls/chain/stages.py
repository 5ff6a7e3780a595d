"""Trainings, tests and other work, each done once in its own folder: what is there is kept, what broke off goes on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.runner import Runner

from mmsls import runs
from mmsls.chain.state import DONE_FILE, METRICS_FILE, ChainState
from mmsls.files.reading import read_json
from mmsls.files.writing import write_json
from mmsls.parallel.main_process import on_main_process
from mmsls.runs.resuming import checkpoint_hooks, chosen_checkpoint, digest_of, last_checkpoint

_NAMES = count()


class Progress(Protocol):
    """Who shows how far the stages are."""

    def stage(self, name: str, reused: bool) -> RunnerObserver:
        """A stage begins, or is taken from an earlier run; the answer watches its runner."""


class RunnerObserver(Protocol):
    """Who watches one stage."""

    def prepare(self, runner: Runner) -> None:
        """See a runner before it starts."""

    def on_batch(self, done: int, total: int) -> None:
        """See scoring advance."""


class Stages:
    """Does named stages of work in one work directory, each once; call every method that does work on every rank.

    Args:
        work_dir: Where everything goes, a folder per stage; need not exist.
        progress: Who shows how far it is.

    Raises:
        ValueError: If the work directory's state file is damaged.
    """

    def __init__(self, work_dir: str | Path, progress: Progress) -> None:
        self.work_dir, self.progress = Path(work_dir).expanduser(), progress
        self.state, self.seen = ChainState(self.work_dir), set[str]()

    # Work.

    def once(self, title: str, path: Path, work: Callable[[RunnerObserver], object]) -> None:
        """Do work that leaves a file, unless that is there already; afterwards every process finds it.

        Args:
            title: What is shown of it.
            path: The file. It is to be the last thing that the work writes.
            work: Called on every rank with who watches it.
        """
        is_there = on_main_process(path.exists)
        observer = self.progress.stage(title, is_there)
        if not is_there:
            work(observer)
            barrier()

    def train(self, name: str, cfg: Config) -> str:
        """Train by a config in the stage's folder, or go on with a training that was broken off there.

        Returns:
            The checkpoint that counts, as `checkpoint`.

        Raises:
            RuntimeError: If the training left no checkpoint.
        """
        self.once(name, self.folder(name) / DONE_FILE, partial(self._train, name, cfg))
        return self.checkpoint(name)

    def _train(self, name: str, cfg: Config, observer: RunnerObserver) -> None:
        cfg = keeping_two(self.settled(name, cfg))
        last = on_main_process(partial(last_checkpoint, self.folder(name)))
        if last is not None:
            cfg.resume, cfg.load_from = True, last
        runner = runs.train(cfg, observer.prepare)
        on_main_process(partial(self._finish, name, runner))

    def _finish(self, name: str, runner: Runner) -> None:
        found = chosen_checkpoint(runner)
        if found is None:
            raise RuntimeError(
                f'{name}: the training left no checkpoint in {str(self.folder(name))!r}; was it removed?'
            )
        done = {'checkpoint': found[0], 'best': found[1], 'sha256': digest_of(found[0])}
        write_json(done, self.folder(name) / DONE_FILE)

    def test(self, name: str, cfg: Config, checkpoint: str) -> dict[str, float]:
        """Test a checkpoint by a config in the stage's folder, and return the metrics."""
        path = self.folder(name) / METRICS_FILE

        def work(observer: RunnerObserver) -> None:
            metrics = runs.test(self.settled(name, cfg), checkpoint, observer.prepare)
            on_main_process(partial(write_json, metrics, path))

        self.once(f'{name}: test', path, work)
        return read_json(path)

    def settled(self, name: str, cfg: Config) -> Config:
        """Return a copy of a config that works in its stage's folder, under its own name, seeded where it is not.

        Raises:
            ValueError: If the folder holds what was not written here.
        """
        dumped = [f'{name}/{Path(cfg.filename).name}'] if cfg.filename else []
        self.state.own(name)
        self.state.own_file(*dumped)
        cfg = deepcopy(cfg)
        randomness = dict(cfg.get('randomness') or {})
        if randomness.get('seed') is None:
            cfg.randomness = {**randomness, 'seed': self.state.content['seed']}
        cfg.work_dir, cfg.experiment_name = str(self.folder(name)), name
        if cfg.get('visualizer'):
            # Hosts call theirs 'visualizer', and mmengine 0.10 hands a second runner of that name the first one's
            # files.
            cfg.visualizer.name = f'{name}_{next(_NAMES)}'
        return cfg

    # What is there; nothing of it waits for another process.

    def folder(self, name: str) -> Path:
        """Return a stage's folder."""
        return self.work_dir / name

    def is_trained(self, name: str) -> bool:
        """Whether a training ended."""
        return (self.folder(name) / DONE_FILE).exists()

    def is_tested(self, name: str) -> bool:
        """Whether a test ended."""
        return (self.folder(name) / METRICS_FILE).exists()

    def metrics(self, name: str) -> dict[str, float] | None:
        """Return what a test that ended found; None where there was none."""
        return read_json(self.folder(name) / METRICS_FILE) if self.is_tested(name) else None

    def checkpoint(self, name: str) -> str:
        """Return a finished training's checkpoint, in its stage's folder where that was moved since.

        Raises:
            ValueError: If another training wrote over it, as one with the same `out_dir` does.
        """
        done = self._done(name)
        path = done['checkpoint']
        if not Path(path).exists():
            path = str(self.folder(name) / Path(path).name)
        if path not in self.seen and done.get('sha256') and digest_of(path) not in (None, done['sha256']):
            raise ValueError(
                f'{path!r} is not the file that the training {name!r} of work_dir {str(self.work_dir)!r} left; was it '
                'written over (the same out_dir of CheckpointHook)?'
            )
        self.seen.add(path)
        return path

    def has_best(self, name: str) -> bool:
        """Whether a finished training's checkpoint is the best one, not the last."""
        done = self._done(name)
        return done.get('best', Path(done['checkpoint']).name.startswith('best_'))

    def _done(self, name: str) -> dict[str, Any]:
        return read_json(self.folder(name) / DONE_FILE)


def keeping_two(cfg: Config) -> Config:
    """Have a config's CheckpointHook keep two checkpoints where it keeps one, in place.

    mmengine 0.10 removes the old one before it writes the next: a kill between the two would cost the whole training.
    """
    for hook in checkpoint_hooks(cfg):
        if hook.get('max_keep_ckpts') == 1:
            hook['max_keep_ckpts'] = 2  # type: ignore[index]
    return cfg
