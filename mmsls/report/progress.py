"""Progress of a chain on a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SILENCE = 60.0
"""Seconds without a line after which output that goes to a file or a pipe gets one."""


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
        self.told = time.monotonic()
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
        if self.tell is not None and time.monotonic() - self.told >= SILENCE:
            self.told = time.monotonic()
            self.tell(f'{self.name} ({what}) {done}/{total}')

    def finish(self) -> None:
        """Leave a full bar behind."""
        task = self.bars.tasks[self.task]
        self.bars.update(self.task, completed=task.total or 1, total=task.total or 1, description=self.name)


class ChainProgress:
    """Bars for the stages of a chain, in the main process alone; use it as a context manager.

    Where the output goes to a file or a pipe, every stage has a line, and a long one a line a minute.

    Args:
        console: Where to draw.
        log: File that takes what the hosts print meanwhile; None leaves it, and their log lines, on the terminal.
    """

    def __init__(self, console: Console, log: Path | None = None) -> None:
        columns = (
            TextColumn('{task.description:<24}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.shown = is_main_process()
        self.bars = Progress(
            *columns, console=console, redirect_stdout=False, redirect_stderr=False, disable=not self.shown
        )
        self.console, self.log = console, log
        self.files = ExitStack()
        self.current: StageProgress | None = None
        self.start = time.monotonic()

    def stage(self, name: str, reused: bool) -> StageProgress:
        """Close the last stage's bar and open the next one's."""
        if self.current:
            self.current.finish()
        title = f'{name}{" (done before)" if reused else ""}'
        tell = self.tell if self.shown and not self.console.is_terminal else None
        if tell is not None:
            tell(title)
        self.current = StageProgress(self.bars, title, self.log is None, tell)
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
        self.bars.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.current and exc_info[0] is None:
            self.current.finish()
        self.bars.stop()
        self.files.close()
        give_back_stderr()
        if exc_info[0] is not None and self.log is not None and self.shown:
            self.console.print(f'broken off; what was printed meanwhile is in {self.log}', highlight=False)


class ConsoleLog:
    """A text file for what the hosts print, which costs no run where the disk is full: what does not fit is not kept.

    Args:
        path: The file; it grows.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open('a', buffering=1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, text: str) -> int:
        """Write what there is room for."""
        with suppress(OSError):
            self.file.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what there is room for."""
        with suppress(OSError):
            self.file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self.file.close()


def give_back_stderr() -> None:
    """Turn the loggers that MMEngine made meanwhile to the terminal; they hold on to a file that is closed now."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream.closed:
                handler.stream = sys.stderr  # setStream would flush the closed file


def terminal() -> Console:
    """Return a console on the terminal, wide enough for the table where the output goes to a file.

    It holds on to the stream of this moment: without `file`, rich follows `sys.stdout` into the log.
    """
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
