"""Where a chain's output goes: the terminal, and the file that takes what the hosts print meanwhile."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from rich.console import Console


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


@contextmanager
def loggers_write_to(log: ConsoleLog) -> Iterator[None]:
    """Turn MMEngine's loggers from the terminal to a file meanwhile: lines between bars that are redrawn tear them."""
    handlers = [
        handler
        for logger in MMLogger._instance_dict.values()
        for handler in logger.handlers
        if type(handler) is logging.StreamHandler
    ]
    streams = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.stream = log
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            handler.stream = stream


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
