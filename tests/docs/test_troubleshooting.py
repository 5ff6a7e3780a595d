"""Messages on the page are those of the code, word for word."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/troubleshooting.md').read_text()
OURS = re.findall(r'^### `(.*)`$', PAGE, re.M)
# Said by Python, MMDetection, MMEngine and torch.
OTHERS = {
    "No module named 'mmcv._ext'",
    'is used but incompatible. Please install mmcv',
    'is not in the mmdet::model registry',
    'Weights only load failed',
}


def text_of(node: ast.AST) -> str | None:
    """Return a string of the code with `…` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return ''.join(part.value if isinstance(part, ast.Constant) else '…' for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or '…') + (text_of(node.right) or '…')
    return None


@cache
def texts() -> list[str]:
    nodes = [node for path in (ROOT / 'mmsls').rglob('*.py') for node in ast.walk(ast.parse(path.read_text()))]
    return [text for node in nodes if (text := text_of(node))]


def is_said(message: str, text: str) -> bool:
    """Whether all fixed parts of a message stand in a text, in this order."""
    place = 0
    for part in filter(None, message.split('…')):
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


@pytest.mark.parametrize('message', [message for message in OURS if message not in OTHERS])
def test_the_code_says_it(message: str) -> None:
    assert any(is_said(message, text) for text in texts())


def test_what_nobody_says_is_found() -> None:
    assert len(OURS) > 30
    assert set(OURS) > OTHERS
    assert not any(is_said('base_checkpoint: no file in …; give a path', text) for text in texts())
