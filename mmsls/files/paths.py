"""Paths as people write them."""

from __future__ import annotations

import os
import re
from typing import Any

HOME = re.compile(r'~[\w.-]*(/|$)')


def expand_home(path: str) -> str:
    """Return a path with the home folder in place of a leading `~` or `~user`; anything else as it is.

    Example:
        >>> expand_home('~/data') == os.path.expanduser('~/data'), expand_home('~about~')
        (True, '~about~')
    """
    return os.path.expanduser(path) if HOME.match(path) else path


def expand_homes(part: Any) -> Any:
    """Expand every path of a config, in place where it is a dict or a list, and return it; it may stand anywhere.

    Example:
        >>> expand_homes({'a': ['~/x', 1]}) == {'a': [os.path.expanduser('~/x'), 1]}
        True
    """
    if isinstance(part, str):
        return expand_home(part)
    if isinstance(part, tuple):
        return type(part)(map(expand_homes, part)) if type(part) is tuple else part
    pairs = list(part.items()) if isinstance(part, dict) else list(enumerate(part)) if isinstance(part, list) else ()
    for key, value in pairs:
        expanded = expand_homes(value)
        if expanded is not value:
            part[key] = expanded
    return part
