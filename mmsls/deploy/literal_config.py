"""Config files that cannot hold code: assignments of checked literals."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from mmsls.files.writing import write_text

HEADER = '# What a task folder holds, as literals alone. The weights beside it fit this config.\n\n'
"""Two lines at least: Python looks for a file's encoding in them."""
WIDTH = 110


def write_literals(values: Mapping[str, Any], path: str | Path) -> None:
    """Write plain data as a Python config, one assignment a name, after checking that it reads back the same.

    Args:
        values: Names of variables to nests of dicts, lists, tuples, texts, numbers, bools and None.
        path: The file; there whole or not at all.

    Raises:
        ValueError: If a name is no identifier, or a value would not read back the same.

    Example:
        >>> write_literals({"x = __import__('os') #": 1}, 'config.py')
        Traceback (most recent call last):
        ...
        ValueError: config: "x = __import__('os') #" is no name of a setting
    """
    lines = []
    for name, value in values.items():
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise ValueError(f'config: {str(name)[:100]!r} is no name of a setting')
        lines.append(f'{name} = {literal(value)}\n')
    text = HEADER + ''.join(lines)
    if read_literals(text) != dict(values):
        raise ValueError('config: it does not read back as it was written')
    write_text(text, path)


def read_literals(text: str) -> dict[str, Any]:
    """Read a file of assignments of literals without running it.

    Raises:
        ValueError: If it holds anything else.

    Example:
        >>> read_literals('scale = (4, 4)')
        {'scale': (4, 4)}
        >>> read_literals('scale = open("x")')
        Traceback (most recent call last):
        ...
        ValueError: config, line 1: no assignment of a literal
    """
    found = {}
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        try:
            if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
                raise ValueError
            found[target.id] = ast.literal_eval(node.value)
        except ValueError:
            raise ValueError(f'config, line {node.lineno}: no assignment of a literal') from None
    return found


def literal(value: Any, indent: int = 0) -> str:
    """Return plain data as Python's source, broken into lines where it is long.

    Raises:
        ValueError: If it is of another type.

    Example:
        >>> print(literal({"it's": (1,), 2: [None, True]}))
        {"it's": (1,), 2: [None, True]}
    """
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if isinstance(value, Mapping):
        items = [f'{literal(key)}: {literal(item, indent + 1)}' for key, item in value.items()]
        return bracketed('{}', items, indent)
    if type(value) in (list, tuple):
        items = [literal(item, indent + 1) for item in value]
        return bracketed('[]' if type(value) is list else '()', items, indent)
    raise ValueError(f'config: {str(value)[:100]!r} is no plain data')


def bracketed(brackets: str, items: list[str], indent: int) -> str:
    """Return items between brackets, on one line where they fit."""
    joined = ', '.join(items) + (',' if brackets == '()' and len(items) == 1 else '')
    if len(joined) + 4 * indent < WIDTH and '\n' not in joined:
        return f'{brackets[0]}{joined}{brackets[1]}'
    inner = '    ' * (indent + 1)
    return f'{brackets[0]}\n' + ''.join(f'{inner}{item},\n' for item in items) + '    ' * indent + brackets[1]
