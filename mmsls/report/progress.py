"""Progress of a chain on a terminal."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmsls.report.console_log import ConsoleLog, give_back_stderr, loggers_write_to

SILENCE = 60.0
"""Seconds without a line after which output that goes to a file or a pipe gets one."""
NARROW = 64
"""Columns of a terminal below which the bars do without the time that has passed."""


class ProgressHook(Hook):
    """Report every training and test iteration of a runner to a callback.

    Args:
        callback: Called with (done, total, what), where what is `train`, `val` or `test`.
    """

    priority = 'VERY_LOW'

    def __init__(self, callback: Callable[[int, int, str], None]) -> None:
        self.callback = callback

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Report a training iteration."""
        self.callback(runner.iter + 1, runner.max_iters, 'train')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Report a validation iteration."""
        self.callback(batch_idx + 1, len(runner.val_dataloader), 'val')

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Report a test iteration."""
        self.callback(batch_idx + 1, len(runner.test_dataloader), 'test')


class StageProgress:
    """The bar of one stage.

    Args:
        bars: Where it is drawn.
        name: Name of the stage.
        verbose: Leave the host's log lines on the terminal.
        tell: Takes a line now and then; None where bars are seen.
    """

    def __init__(self, bars: Progress, name: str, verbose: bool, tell: Callable[[str], None] | None = None) -> None:
        self.bars, self.name, self.verbose, self.tell = bars, name, verbose, tell
        self.began = self.told = time.monotonic()
        self.pace: Pace | None = None
        self.counted, self.last = '', 0
        self.task = bars.add_task(name, total=None)

    def prepare(self, runner: Runner) -> None:
        """Follow a runner; its log lines go to its file alone, errors to the terminal too."""
        runner.register_hook(ProgressHook(self._advance))
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler and not self.verbose:
                handler.setLevel(logging.ERROR)

    def on_batch(self, done: int, total: int) -> None:
        """Show how far scoring is."""
        self._advance(done, total, 'features')

    def _advance(self, done: int, total: int, what: str) -> None:
        self.bars.update(self.task, completed=done, total=total, description=f'{self.name} ({what})')
        now = time.monotonic()
        if self.pace is None or self.pace.what != what or done < self.last:
            self.pace = Pace(what, done, now)
        self.last = done
        told = f' ({what}) {done}/{total}{self.pace.left(done, total, now)}'
        self.counted = told if done < total else ''
        self._tell_after_a_while(f'{self.name}{told}')

    def remind(self) -> None:
        """Say how far it is, or that work goes on which counts nothing, where a minute passed without a line."""
        told = self.counted or f' goes on ({spoken(time.monotonic() - self.began)} so far)'
        self._tell_after_a_while(f'{self.name}{told}')

    def _tell_after_a_while(self, line: str) -> None:
        now = time.monotonic()
        if self.tell is not None and now - self.told >= SILENCE:
            self.told = now
            self.tell(line)

    def finish(self) -> None:
        """Leave a full bar behind."""
        task = self.bars.tasks[self.task]
        self.bars.update(self.task, completed=task.total or 1, total=task.total or 1, description=self.name)


class Pace:
    """How fast one kind of work goes.

    Args:
        what: The kind.
        done: Iterations done when it was first seen.
        now: When that was, in seconds.
    """

    def __init__(self, what: str, done: int, now: float) -> None:
        self.what, self.done, self.now = what, done, now

    def left(self, done: int, total: int, now: float) -> str:
        """Return what is to be said of the time that is left, nothing where that is not known.

        Example:
            >>> Pace('train', 10, 0.0).left(20, 100, 60.0)
            ', about 8 min left'
        """
        if done <= self.done or now <= self.now or total <= done:
            return ''
        return f', about {spoken((total - done) * (now - self.now) / (done - self.done))} left'


def spoken(seconds: float) -> str:
    """Return a time as one says it.

    Example:
        >>> spoken(42), spoken(400), spoken(8000)
        ('42 s', '7 min', '2 h 13 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60} min'


class ChainProgress:
    """Bars for the stages of a chain, in the main process alone; use it as a context manager.

    Where the output goes to a file or a pipe, every stage has a line, and a long one a line a minute, with the time
    that is left where the work can be counted.

    Args:
        console: Where to draw.
        log: File that takes what the hosts print meanwhile; None leaves it, and their log lines, on the terminal.
        quiet: Draw and tell nothing.
    """

    def __init__(self, console: Console, log: Path | None = None, quiet: bool = False) -> None:
        wide = console.width >= NARROW
        columns = (
            TextColumn(f'{{task.description:<{24 if wide else 18}}}'),
            BarColumn(),
            MofNCompleteColumn(),
            *((TimeElapsedColumn(), TimeRemainingColumn()) if wide else (TimeRemainingColumn(compact=True),)),
        )
        self.shown = is_main_process()
        self.tells = self.shown and not quiet and not console.is_terminal
        hidden = quiet or not self.shown
        self.bars = Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False, disable=hidden)
        self.console, self.log = console, log
        self.files = ExitStack()
        self.quiet = quiet
        self.current: StageProgress | None = None
        self.start = time.monotonic()
        self.over = threading.Event()

    def stage(self, name: str, reused: bool) -> StageProgress:
        """Close the last stage's bar and open the next one's."""
        if self.current:
            self.current.finish()
        title = f'{name}{" (done before)" if reused else ""}'
        tell = self.tell if self.tells else None
        if tell is not None:
            tell(title)
        self.current = StageProgress(self.bars, title, self.log is None and not self.quiet, tell)
        return self.current

    def tell(self, line: str) -> None:
        """Write a line with the time since the start."""
        self.console.print(f'[{time.monotonic() - self.start:6.0f} s] {line}', highlight=False, markup=False)

    def __enter__(self) -> ChainProgress:
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = ConsoleLog(self.log)
            self.files.callback(log.close)
            self.files.enter_context(redirect_stdout(log))
            self.files.enter_context(redirect_stderr(log))
            self.files.enter_context(loggers_write_to(log))
        self.bars.start()
        if self.tells:
            threading.Thread(target=self._remind, daemon=True).start()
        return self

    def _remind(self) -> None:
        while not self.over.wait(SILENCE / 4):
            if self.current:
                self.current.remind()

    def __exit__(self, *exc_info: object) -> None:
        self.over.set()
        if self.current and exc_info[0] is None:
            self.current.finish()
        self.bars.stop()
        self.files.close()
        give_back_stderr()
        if exc_info[0] is not None and self.log is not None and self.shown:
            self.console.print(f'broken off; what was printed meanwhile is in {self.log}', highlight=False)
