"""What somebody typed to get a config: kept with it, so that commands for them can be written the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = '_mmsls_given'


def remember(config: Any, path: str, options: Mapping[str, Any] | None = None) -> None:
    """Let a config know how it was named. It is no setting of it: it is neither printed, dumped nor pickled.

    Args:
        config: MMEngine's; deep copies of it know too.
        path: The file, or the name of one that comes with a package.
        options: Settings of the command line that override the file's.
    """
    told = tuple(f'{name}={value}' for name, value in (options or {}).items())
    config.__dict__[NAME] = (str(path), tuple(text.replace(' ', '') for text in told))


def given(config: Any) -> tuple[str, tuple[str, ...]] | None:
    """Return how a config was named, and the settings that overrode it; None where nobody knows.

    Example:
        >>> class Config:
        ...     pass
        >>> config = Config()
        >>> remember(config, 'tune.py', {'model.depths': [2, 1]})
        >>> given(config), given(Config())
        (('tune.py', ('model.depths=[2,1]',)), None)
    """
    return config.__dict__.get(NAME)
