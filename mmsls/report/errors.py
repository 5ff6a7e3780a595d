"""Errors as a user of a command wants them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with one line where mmsls itself refused an input; let any other error keep its traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
        if PACKAGE not in raised_in.parents:
            raise
        sys.exit(f'error: {error}')
