"""Reading small text files that anyone may have written: bounded in size and depth, and with one clear error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LARGEST = 64 << 20
"""Bytes of the largest text file that is read; what mmsls writes is far below."""


def read_text(path: str | os.PathLike[str], largest: int = LARGEST) -> str:
    """Read a text file in UTF-8.

    Args:
        path: The file.
        largest: Bytes that it may have.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file, too large, not readable, or no text.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f'{str(path)!r} is no file; give the path of the file')
        with path.open('rb') as file:
            content = file.read(largest + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f'{str(path)!r} cannot be read ({error})') from error
    if len(content) > largest:
        raise ValueError(f'{str(path)!r} has more than {largest} bytes; such a file was not written by mmsls')
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{str(path)!r} is not text ({error})') from error


def parse_json(text: str) -> Any:
    """Parse JSON by the standard: without NaN and the infinities, which Python's reader would take.

    Raises:
        ValueError: If it is no JSON, or nested too deep to read.

    Example:
        >>> parse_json('[' * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: cut short or not JSON (nested too deep)
    """
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError as error:
        raise ValueError('cut short or not JSON (nested too deep)') from error
    except json.JSONDecodeError as error:
        raise ValueError(f'cut short or not JSON ({error})') from error


def read_json(path: str | os.PathLike[str], mend: str = 'remove it, and its stage runs again') -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        mend: What to do where it is damaged, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON; the message names the file and the mend.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f'{str(path)!r} is damaged: {error}; {mend}') from error


def refuse_constant(name: str) -> None:
    """Refuse what Python's JSON reads and the standard does not know."""
    raise ValueError(f'holds {name}, which is no JSON number')
